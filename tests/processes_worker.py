"""One of two processes that learn together, and what a single one does with the whole batch; run as a script."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import weakref
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from mmsearch_agents import Rollouts, train
from mmsearch_agents.checkpoints import Checkpoints, resumed
from mmsearch_agents.grpo import GRPOLearner, GrpoOptions
from mmsearch_agents.optimization import OptimizerOptions
from mmsearch_agents.policy import QwenPolicy, freeze_vision, pictures_of
from mmsearch_agents.processes import ALONE, part_of
from mmsearch_agents.sft import SFTLearner, SftOptions
from mmsearch_env import load_trajectories
from mmsearch_env.worlds import load_world
from tests.learner_models import Rewarded, ids_reward, make_envs, make_policy, weights_of

ROOT = Path(__file__).parents[1]
LIMIT_S = 840  # of a machine that is busy with something else
ADAMW = OptimizerOptions(learning_rate=1e-3)
ODD = (0, 1, 1, 0, 1, 1, 1, 1)  # rewards: the second group is all alike


@dataclass(frozen=True)
class Case:
    """What is learned by whom."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    first: int = 4  # how many of the eight episodes the first process has
    rewards: tuple[int, ...] | None = None
    faults: tuple[int, ...] = ()
    rank: int = 0  # of adapters
    vision: bool = False  # whether it is trained as well
    dtype: torch.dtype = torch.float64


CASES = {
    "sft": Case("sft"),
    "sft-fewer-passes": Case("sft", {"cells_per_pass": 300}, first=6),
    "sft-nothing": Case("sft", {"tokens": "all"}, first=8),
    "sft-vision": Case("sft", first=8, vision=True),
    "sft-float32": Case("sft", first=5, dtype=torch.float32),
    "grpo": Case("grpo", {"kl_coef": 0.1}),
    "grpo-float32": Case("grpo", {"kl_coef": 0.1}, dtype=torch.float32),
    "grpo-fewer-passes": Case("grpo", {"cells_per_pass": 300}, first=6),
    "grpo-nothing": Case("grpo", {"cells_per_pass": 300}, first=0),
    "grpo-divided-group": Case("grpo", {"advantage": "mean_std"}, first=2),
    "kl-in-reward": Case("grpo", {"kl_coef": 0.2, "kl_place": "reward", "advantage": "batch_std"}, first=3),
    "adapters-off": Case("grpo", {"kl_coef": 0.2, "reference": "adapters_off"}, rank=4, first=5),
    "batch-std": Case("grpo", {"advantage": "batch_std", "clip_high": 0.28}, first=6),
    "gspo": Case("grpo", {"ratio": "sequence", "aggregation": "sequence_mean", "advantage": "mean_std"}, first=3),
    "dr": Case("grpo", {"aggregation": "sum_over_constant", "aggregation_constant": 64.0, "dual_clip": 3.0}, first=3),
    "dropped-group": Case("grpo", {"dynamic_sampling": True, "aggregation": "sequence_mean"}, rewards=ODD),
    "nothing-left": Case("grpo", {"dynamic_sampling": True}, rewards=(1,) * 8),
    "faults": Case("grpo", {"advantage": "batch_std"}, faults=(1, 4, 5, 6, 7)),
    "minibatches": Case("grpo", {"epochs": 2, "minibatches": 3, "kl_coef": 0.1}, first=5),
    "recomputed": Case("grpo", {"old_logprobs": "recomputed", "engine_correction": 1.01, "minibatches": 2}, first=3),
}
SHARDED = ("sft-nothing", "sft-vision", "grpo-fewer-passes", "adapters-off", "kl-in-reward", "minibatches")


def run_two(module, folder, world, **variables):
    """Run a worker in two processes; return the results that each of them wrote."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"OMP_NUM_THREADS": "1", **variables}
    told = [folder / f"told.{rank}.txt" for rank in range(2)]  # not a pipe: a full one would stop who writes
    workers = []
    try:
        for rank, path in enumerate(told):
            environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            command = [sys.executable, "-m", module, str(folder), str(world)]
            with path.open("w") as file:
                workers.append(subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, env=environment))
        failed = [bool(worker.wait(timeout=LIMIT_S)) for worker in workers]
        assert not any(failed), "\n".join(path.read_text()[-10000:] for path in told)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return [json.loads((folder / f"results.{rank}.json").read_text()) for rank in range(2)]


def episodes_of(case, trajectories):
    """Return the whole batch of a case."""
    if case.rewards is not None:
        trajectories = [
            replace(one, reward=float(reward)) for one, reward in zip(trajectories, case.rewards, strict=True)
        ]
    return [
        replace(one, truncated=True, cause="fault: no answer", reward=0.0) if index in case.faults else one
        for index, one in enumerate(trajectories)
    ]


def learner_of(case, view, processes=ALONE):
    """Return a learner that has moved away from the policy that sampled, so that ratios are not 1."""
    policy = make_policy(dtype=case.dtype, rank=case.rank)
    if case.vision:
        policy.model.requires_grad_(True)
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.requires_grad:
                weight.mul_(1.02)
    options = {"optimizer": ADAMW, **case.options}
    if case.kind == "sft":
        return SFTLearner(policy, SftOptions(**options), pictures=view, processes=processes)
    return GRPOLearner(policy, GrpoOptions(**options), pictures=view, processes=processes)


def outcome(case, trajectories, view, processes=ALONE, *, shards=False):
    """Return the gradients of the first step, the weights after two updates on a batch, and their metrics.

    The gradients of shards are nobody's.
    """
    whole = episodes_of(case, trajectories)
    own = whole if processes.count == 1 else (whole[: case.first], whole[case.first :])[processes.rank]
    learner = learner_of(case, view, processes)
    divided = any(hasattr(weight, "full_tensor") for weight in learner._trained.parameters())
    assert divided == (shards and processes.count > 1)
    tensors: dict[str, torch.Tensor] = {}
    step = learner._optimizer.step

    def noted(loss):
        for name, weight in learner.policy.model.named_parameters():
            if weight.grad is not None:
                tensors.setdefault(f"gradient/{name}", weight.grad.detach().clone())
        return step(loss)

    learner._optimizer.step = noted
    metrics = [learner.learn(own) for _ in range(2)]
    return {**tensors, **{f"weight/{name}": one for name, one in weights_of(learner).items()}}, metrics


def accelerator_of(kind):
    """Return an accelerator on the CPU that takes itself for one of this distributed type: on GPUs only it may be."""
    from accelerate import (  # type: ignore[import-untyped, unused-ignore]
        Accelerator,
        DistributedType,
        PartialState,
    )

    accelerator = Accelerator(cpu=True)
    PartialState._shared_state["distributed_type"] = accelerator.state.distributed_type = DistributedType(kind)
    return accelerator


def sharded(mixed_precision="no"):
    """Return the processes as Accelerate's configuration of FSDP would make them."""
    from accelerate import FullyShardedDataParallelPlugin

    from mmsearch_agents.accelerated import Accelerated

    accelerator = accelerator_of("FSDP")
    state = accelerator.state
    state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["Qwen2_5_VLDecoderLayer", "Qwen2_5_VLVisionBlock"],
        cpu_ram_efficient_loading=False,
        reshard_after_forward=True,
    )
    state._mixed_precision = mixed_precision
    if mixed_precision != "no":
        state.fsdp_plugin.set_mixed_precision(mixed_precision)
    return Accelerated(accelerator)


def resume(world, out, processes, dtype=torch.float32):
    """Train for three updates at once, and for one and two; return weights, metrics and random numbers of both."""
    found, start = {}, out / "start"
    if processes.main:
        make_policy().save(start)
    processes.gather(None)
    for name, stops in {"straight": (3,), "resumed": (1, 3)}.items():
        envs = make_envs(load_world(world), rows=4)
        checkpoints = Checkpoints(out / name, every=1, processes=processes)
        history: list[Any] = []
        for stop in stops:
            latest, view = checkpoints.latest(), pictures_of(envs.stage)
            options = GrpoOptions(optimizer=ADAMW, kl_coef=0.05, epochs=2, minibatches=2)
            if latest:
                learner = GRPOLearner.load(latest, pictures=view, processes=processes, dtype=dtype)
            else:
                policy = QwenPolicy.load(start, dtype=dtype)
                freeze_vision(policy.model)
                learner = GRPOLearner(policy, options, pictures=view, processes=processes)
            rollouts = part_of(Rollouts(envs=envs, group_size=2, tasks_per_batch=3, seed=5), processes)
            source = Rewarded(resumed(rollouts, learner.batches), ids_reward)
            save = checkpoints.saver(learner)
            history += train(learner, source, updates=stop - learner.batches, on_update=save)
        drawn = learner.policy.generator.get_state()
        found[name] = {"drawn": drawn, **weights_of(learner)}, history
    return found


def main(folder, world):
    """Do everything, and write what came out."""
    from mmsearch_agents.accelerated import Accelerated

    torch.set_num_threads(1)
    processes = Accelerated()
    assert processes.count == 2
    rank = processes.rank
    trajectories = load_trajectories(folder / "episodes.jsonl")
    view = pictures_of(make_envs(load_world(world)).stage)
    results = {}

    def keep(name, tensors, history):
        results[name] = history
        save_file(tensors, folder / f"{name}.{rank}.safetensors")

    for name, case in CASES.items():
        keep(name, *outcome(case, trajectories, view, processes))
    for name, found in resume(world, folder / "whole", processes).items():
        keep(name, *found)
    shards = sharded()
    for name in SHARDED:
        keep(f"shards-{name}", *outcome(CASES[name], trajectories, view, shards, shards=True))
    shards = sharded("bf16")
    for name, found in resume(world, folder / "shards", shards, torch.bfloat16).items():
        keep(f"shards-{name}", *found)
    options = processes._group._get_backend(torch.device("cpu")).options
    results["patience"] = options._timeout.total_seconds()
    group = weakref.ref(processes._group)
    processes.end()
    results["parted"] = group() is None
    (folder / f"results.{rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
