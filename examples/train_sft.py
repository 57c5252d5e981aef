"""Teach a model to search by demonstrations: `python examples/train_sft.py`, a small one from scratch by default.

The real thing: `--model Qwen/Qwen2.5-VL-7B-Instruct --preset paper --data demonstrations.jsonl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro
from gymnasium.vector import AutoresetMode

from mmsearch_agents import Dataset, make_learner, play, train
from mmsearch_agents.accelerated import launched
from mmsearch_agents.checkpoints import Checkpoints, resumed
from mmsearch_agents.evaluate import evaluate, sample_tasks
from mmsearch_agents.policy import QwenPolicy, build_model, checkpoint_gradients, pictures_of, tiny_config
from mmsearch_agents.presets import SftPreset, get_sft_preset
from mmsearch_agents.processes import part_of
from mmsearch_agents.sft import SFTLearner
from mmsearch_agents.shipped import environment_of, write_environment
from mmsearch_agents.training_log import TrainingLog
from mmsearch_env import load_trajectories, load_world
from mmsearch_env.codec import Codec, load_codec
from mmsearch_env.trajectory import Trajectory
from mmsearch_env.vector import MMSearchVectorEnv


@dataclass(frozen=True)
class Config:
    """What to train on what, and where it goes."""

    model: str = "tiny"  # a new one; or a folder, or an id on the hub
    preset: str = "small"  # or paper
    world: str = "atlas"
    data: str = ""  # a file of trajectories as `mmsearch eval` writes them; empty for demonstrations by the teachers
    teachers: str = "agent,refiner"  # scripted agents
    right_only: bool = False  # show only what ended in a right answer
    tasks: int = 0  # of the training split; 0 for all
    max_tokens: int = 1024  # room for an episode
    evaluate_every: int = 200  # updates
    evaluate_on: int = 64  # validation tasks
    checkpoint_every: int = 100  # updates
    num_envs: int = 32  # rows that are played together, in each process
    tensorboard: bool = False  # write its files as well
    resume: bool = False  # go on from the last checkpoint in out; the learner's options are those of the checkpoint
    seed: int = 0  # of the order of episodes
    out: str = "runs/sft"  # gets policy/, checkpoints/, metrics.jsonl and episodes.jsonl


def main(config: Config) -> SFTLearner:
    """Train, evaluating on the way; the policy is left in `<out>/policy`."""
    processes, preset, out = launched(), get_sft_preset(config.preset), Path(config.out)
    codec = load_codec() if config.model == "tiny" else load_codec(config.model)
    shown = demonstrations(config, make_envs(config, codec, "train"))
    source = Dataset(trajectories=shown, batch_size=preset.batch_size, epochs=preset.epochs, seed=config.seed)
    updates = preset.epochs * -(-len(shown) // preset.batch_size)
    envs = make_envs(config, codec, "validation")
    task_ids = sample_tasks(envs.stage.tasks, min(config.evaluate_on, len(envs.stage.tasks)), seed=config.seed)
    checkpoints = Checkpoints(out / "checkpoints", every=config.checkpoint_every, processes=processes)
    latest, pictures = checkpoints.begin(resume=config.resume), pictures_of(envs.stage)
    if latest is not None:
        learner = SFTLearner.load(latest, pictures=pictures, codec=codec, processes=processes)
    else:
        policy, options = make_policy(config, preset, codec), preset.options.lasting(updates)
        learner = SFTLearner(policy, options, pictures=pictures, seed=config.seed, processes=processes)
    save, begin = checkpoints.saver(learner), learner.batches
    with TrainingLog(out, total=updates, begin=begin, tensorboard=config.tensorboard, processes=processes) as log:

        def on_update(update: int, metrics: Mapping[str, float]) -> None:
            if processes.main and (learner.batches % config.evaluate_every == 0 or learner.batches == updates):
                overall = evaluate(learner, envs, task_ids).overall
                metrics = {**metrics, "eval/accuracy": overall.accuracy, "eval/format_rate": overall.format_rate}
            log(update, metrics)
            save(update, metrics)

        train(learner, log.watch(resumed(part_of(source, processes), begin)), on_update=on_update)
    if processes.main:
        learner.policy.save(out / "policy", merged=True)
        write_environment(out / "policy", environment_of(envs.stage))
        print(f"The policy is in {out / 'policy'}.")
    processes.end()
    return learner


def make_policy(config: Config, preset: SftPreset, codec: Codec) -> QwenPolicy:
    """Return what is to be trained: a small model from scratch, or a released one with adapters."""
    if config.model == "tiny":  # 1.8 million parameters
        return QwenPolicy(build_model(tiny_config(codec), seed=config.seed), codec, seed=config.seed)
    policy = QwenPolicy.from_pretrained(config.model, codec=codec, lora=preset.lora, seed=config.seed)
    checkpoint_gradients(policy.model)
    return policy


def make_envs(config: Config, codec: Codec, split: str) -> MMSearchVectorEnv:
    """Return rows over one split that take their next task from whoever plays them."""
    return MMSearchVectorEnv(
        config.num_envs, load_world(config.world), split=split, tokenizer=codec, max_tokens=config.max_tokens,
        prompts="short" if config.model == "tiny" else "full", copy=False, autoreset_mode=AutoresetMode.DISABLED,
    )  # fmt: skip


def demonstrations(config: Config, envs: MMSearchVectorEnv) -> list[Trajectory]:
    """Return the episodes to learn from: well-formed, and right if wanted."""
    if config.data:
        return load_trajectories(config.data)
    task_ids = sample_tasks(envs.stage.tasks, config.tasks or None, seed=config.seed)
    teachers = [make_learner(name, envs, seed=config.seed) for name in config.teachers.split(",")]
    shown = [trajectory for teacher in teachers for _, trajectory in play(teacher, envs, task_ids)]
    return [one for one in shown if one.reward >= (1.0 if config.right_only else 0.1)]  # 0.9 if right, 0.1 for form


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
