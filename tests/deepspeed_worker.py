"""One of two processes that learn together with DeepSpeed's ZeRO; run as a script."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from mmsearch_agents.optimization import Optimizer, OptimizerOptions
from mmsearch_agents.policy import pictures_of
from mmsearch_agents.processes import ALONE
from mmsearch_agents.sft import SFTLearner
from mmsearch_env import load_trajectories
from mmsearch_env.worlds import load_world
from tests.learner_models import make_envs, weights_of
from tests.processes_worker import CASES, accelerator_of, episodes_of, learner_of, resume

# With an epsilon like the gradients themselves a step is as precise as they are; with a small one AdamW makes a whole
# step of a gradient's rounding error.
SMOOTH = OptimizerOptions(learning_rate=1e-2, epsilon=1e-3, weight_decay=0.1)
NAMES = ("sft-nothing", "sft-fewer-passes", "grpo-nothing", "adapters-off", "kl-in-reward", "minibatches")
FREELY = "sft-fewer-passes"  # the case without clipping


def case_of(name):
    """Return a case of `processes_worker` in DeepSpeed's precision."""
    optimizer = replace(SMOOTH, max_gradient_norm=None if name == FREELY else 0.5)
    case = CASES[name]
    return replace(case, dtype=torch.float32, options={**case.options, "optimizer": optimizer})


def zero(stage, mixed_precision="no"):
    """Return the processes as Accelerate's configuration of DeepSpeed would make them."""
    from accelerate import DeepSpeedPlugin  # type: ignore[import-untyped, unused-ignore]

    from mmsearch_agents.accelerated import Accelerated

    accelerator = accelerator_of("DEEPSPEED")
    state = accelerator.state
    plugin = DeepSpeedPlugin(zero_stage=stage)
    state.deepspeed_plugins = {"default": plugin}
    plugin.set_mixed_precision(mixed_precision)
    plugin.select(_from_accelerator_state=True)
    accelerator.deepspeed_engine_wrapped = None
    return Accelerated(accelerator)


def outcome(name, trajectories, view, processes=ALONE):
    """Return what two updates on a batch make of the weights, and of the moments after the first; and the metrics."""
    case = case_of(name)
    whole = episodes_of(case, trajectories)
    own = whole if processes.count == 1 else (whole[: case.first], whole[case.first :])[processes.rank]
    learner = learner_of(case, view, processes)
    metrics = [learner.learn(own)]
    moments = {key: one.clone() for key, one in learner._optimizer.tensors().items()}
    metrics.append(learner.learn(own))
    return {**moments, **{f"weight/{key}": one for key, one in weights_of(learner).items()}}, metrics


def going_on(folder, trajectories, view, processes=ALONE):
    """Return the weights after another update of a learner that one process saved."""
    own = trajectories if processes.count == 1 else trajectories[4 * processes.rank :][:4]
    learner = SFTLearner.load(folder, pictures=view, dtype=torch.float32, processes=processes)
    learner.learn(own)
    return weights_of(learner)


def refused(processes):
    """Return weights before and after a step of an infinite loss with finite gradients, and after one that counts."""
    model = torch.nn.Linear(3, 1)
    with torch.no_grad():
        model.weight.fill_(0.5)
    optimizer = Optimizer(model, SMOOTH, processes=processes)
    prepared = processes.prepare(model, optimizer)
    kept = [model.weight.detach().clone()]
    for loss in (float("inf"), 0.0):
        more = loss if processes.rank else 0.0  # one of them has it
        inputs = torch.ones(1, 3, dtype=model.weight.dtype)
        processes.accumulate(prepared, [inputs], lambda one, more=more: prepared(one).sum() + more, lambda: None)
        try:
            optimizer.step(loss)
        except FloatingPointError:
            assert loss
        kept.append(model.weight.detach().clone())
    return kept, optimizer.steps


def main(folder, world):
    """Do everything, and write what came out."""
    import deepspeed.ops  # type: ignore[import-not-found, import-untyped, unused-ignore]

    # Without kernels of its own it needs no compiler; on two CPUs it would build one for the exchange between them.
    deepspeed.ops.__compatible_ops__ = {}
    torch.set_num_threads(1)
    trajectories = load_trajectories(folder / "episodes.jsonl")
    view = pictures_of(make_envs(load_world(world)).stage)
    results: dict[str, Any] = {}

    def keep(name, tensors, history):
        results[name] = history
        save_file(tensors, folder / f"{name}.{processes.rank}.safetensors")

    for stage in (1, 2):
        processes = zero(stage)
        assert processes.count == 2
        for name in NAMES:
            keep(f"{stage}-{name}", *outcome(name, trajectories, view, processes))
        keep(f"{stage}-going-on", going_on(folder / "alone", trajectories, view, processes), [])
        for kind, precise, dtype in (("whole", "no", torch.float32), ("bf16", "bf16", torch.bfloat16)):
            processes = zero(stage, precise)
            kept, steps = refused(processes)
            keep(f"{stage}-{kind}-refused", {str(number): one for number, one in enumerate(kept)}, steps)
            for name, found in resume(world, folder / f"{stage}-{kind}", processes, dtype).items():
                keep(f"{stage}-{kind}-{name}", *found)
    (folder / f"results.{processes.rank}.json").write_text(json.dumps(results))
    processes.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
