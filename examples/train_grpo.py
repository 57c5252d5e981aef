"""Let a model find out by itself when to search for what: `python examples/train_grpo.py`, `tiny-sft` by default.

The real thing: `--model Qwen/Qwen2.5-VL-7B-Instruct --preset paper_main --max-tokens 8192`, or the folder of what
`train_sft.py` left. With `--resume` it goes on where it was left. On several GPUs: `accelerate launch --config_file
examples/accelerate/ddp.yaml examples/train_grpo.py ...`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro
from gymnasium.vector import AutoresetMode

from mmsearch_agents import Rollouts, train
from mmsearch_agents.accelerated import launched
from mmsearch_agents.checkpoints import Checkpoints, resumed
from mmsearch_agents.evaluate import evaluate, sample_tasks
from mmsearch_agents.grpo import GRPOLearner
from mmsearch_agents.policy import QwenPolicy, checkpoint_gradients, pictures_of
from mmsearch_agents.policy.folder import codec_for, read_state
from mmsearch_agents.presets import GrpoPreset, get_grpo_preset
from mmsearch_agents.processes import part_of
from mmsearch_agents.shipped import environment_of, policy_folder, trained_for, write_environment
from mmsearch_agents.training_log import TrainingLog
from mmsearch_env.codec import Codec, load_codec
from mmsearch_env.vector import MMSearchVectorEnv


@dataclass(frozen=True)
class Config:
    """What to train on what, for how long, and where it goes."""

    model: str = "tiny-sft"  # or a folder, or an id on the hub
    preset: str = "small"  # or paper_main, paper_appendix, mmsearch_r1: mmsearch_agents.presets has what they stand for
    world: str = ""  # empty for what the policy was trained for, or atlas
    updates: int = 0  # batches of episodes; 0 for the epochs of the preset
    max_tokens: int = 0  # room for an episode; 0 for what the policy was trained for, or 1,024
    evaluate_every: int = 20  # updates
    evaluate_on: int = 64  # validation tasks
    checkpoint_every: int = 10  # updates
    num_envs: int = 64  # rows that are played together, in each process
    tensorboard: bool = False  # write its files as well
    resume: bool = False  # go on from the last checkpoint in out; the learner's options are those of the checkpoint
    seed: int = 0  # of the order of tasks and of sampling
    out: str = "runs/grpo"  # gets policy/, checkpoints/, metrics.jsonl and episodes.jsonl


def main(config: Config) -> GRPOLearner:
    """Train, evaluating after the first update, on the way and in the end; the policy is left in `<out>/policy`."""
    processes, preset, out = launched(), get_grpo_preset(config.preset), Path(config.out)
    codec = find_codec(config.model)
    envs, validation = (make_envs(config, preset, codec, split) for split in ("train", "validation"))
    source = Rollouts(envs=envs, group_size=preset.group_size, tasks_per_batch=preset.tasks_per_batch, seed=config.seed)
    updates = config.updates or preset.epochs * -(-len(envs.stage.tasks) // preset.tasks_per_batch)
    tasks = validation.stage.tasks
    task_ids = sample_tasks(tasks, min(config.evaluate_on, len(tasks)), seed=config.seed)
    checkpoints = Checkpoints(out / "checkpoints", every=config.checkpoint_every, processes=processes)
    latest, pictures = checkpoints.begin(resume=config.resume), pictures_of(envs.stage)
    if latest is not None:
        learner = GRPOLearner.load(latest, pictures=pictures, codec=codec, processes=processes)
    else:
        options = preset.options.lasting(updates * preset.options.epochs * preset.options.minibatches)
        policy = make_policy(config, preset, codec)
        learner = GRPOLearner(policy, options, pictures=pictures, seed=config.seed, processes=processes)
    save, begin = checkpoints.saver(learner), learner.batches

    with TrainingLog(out, total=updates, begin=begin, tensorboard=config.tensorboard, processes=processes) as log:

        def on_update(update: int, metrics: Mapping[str, float]) -> None:
            measured = {}
            if processes.main and (learner.batches % config.evaluate_every == 0 or learner.batches in (1, updates)):
                overall = evaluate(learner, validation, task_ids).overall
                searches = {f"eval/searches/{kind}": count for kind, count in overall.searches.items()}
                measured = {"eval/accuracy": overall.accuracy, "eval/format_rate": overall.format_rate, **searches}
            log(update, {**metrics, **measured})
            save(update, metrics)

        episodes = log.watch(resumed(part_of(source, processes), begin))
        train(learner, episodes, updates=updates - begin, on_update=on_update)
    if processes.main:
        learner.policy.save(out / "policy", merged=True)
        write_environment(out / "policy", environment_of(envs.stage))
        print(f"The policy is in {out / 'policy'}.")
    processes.end()
    return learner


def find_codec(model: str) -> Codec:
    """Return the tokenizer that the weights were trained with."""
    folder = policy_folder(model)
    return codec_for(read_state(folder)) if (folder / "policy.json").exists() else load_codec(model)


def make_policy(config: Config, preset: GrpoPreset, codec: Codec) -> QwenPolicy:
    """Return what is to be trained."""
    policy = QwenPolicy.from_pretrained(
        str(policy_folder(config.model)), codec=codec, lora=preset.lora, sampling=preset.sampling, seed=config.seed
    )
    if preset.lora is not None:
        checkpoint_gradients(policy.model)
    return policy


def make_envs(config: Config, preset: GrpoPreset, codec: Codec, split: str) -> MMSearchVectorEnv:
    """Return rows over one split that take their next task from whoever plays them."""
    options = {"world": "atlas", "max_tokens": 1024, **preset.env, **trained_for(config.model), "tokenizer": codec}
    given = {"world": config.world, "max_tokens": config.max_tokens}
    options |= {name: value for name, value in given.items() if value}
    return MMSearchVectorEnv(config.num_envs, split=split, copy=False, autoreset_mode=AutoresetMode.DISABLED, **options)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
