"""See agents search, and one learn to: `python examples/demo.py`, about four minutes on two cores.

The scripted agents play the same tasks of atlas. Then the small policy `tiny-sft` plays some of them, learns from its
own episodes on atlas train by GRPO for two and a half minutes, and plays them again; without torch, the first part
alone.

Writes to runs/demo/: a folder per run (summary.json, trajectories.jsonl, images/), learning/ (metrics.jsonl and the
policy), accuracy.png, searches.png, and index.html with the table, the learning curve, and episodes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gymnasium.vector import AutoresetMode
from rich.console import Console

from mmsearch_agents import AGENTS, Rollouts, make_learner, train
from mmsearch_agents.cli import measures_cells, measures_table
from mmsearch_agents.evaluate import Summary, evaluate, sample_tasks
from mmsearch_agents.learner import Learner
from mmsearch_agents.shipped import policy_folder, trained_for, write_environment
from mmsearch_agents.time_budget import TimeBudget
from mmsearch_agents.training_log import METRICS, TrainingLog, read_log
from mmsearch_env import load_world
from mmsearch_env.cli.progress import progress
from mmsearch_env.errors import ConfigurationError
from mmsearch_env.report import Training, load_run, plot_accuracy, plot_searches, reward_rise, write_report
from mmsearch_env.vector import MMSearchVectorEnv
from mmsearch_env.worlds import World

POLICY, TRAINED = "tiny-sft", "tiny-sft+GRPO"


@dataclass(frozen=True)
class Config:
    """What is played, and how long there is to learn."""

    world: str = "atlas"
    split: str = "test"
    episodes: int = 0  # tasks that the scripted agents play; 0 for all of the split
    policy_episodes: int = 300  # the first of these, which the policy plays before and after; 0 for all of them
    seconds: float = 150.0  # of learning; 0 for none
    preset: str = "small"  # of GRPO, in mmsearch_agents.presets
    seed: int = 0
    out: str = "runs/demo"


def main(config: Config) -> None:
    """Let everybody play, and write the page."""
    console, out, world = Console(), Path(config.out), load_world(config.world)
    task_ids = sample_tasks(world.tasks(config.split), config.episodes or None, seed=config.seed)
    summaries = []
    for agent in AGENTS:
        envs = make_envs(world, config.split, 32, {})
        summaries.append(run(make_learner(agent, envs, seed=config.seed), envs, agent, task_ids, config))
    show(summaries, console)

    training = None
    if obstacle := why_not(config):
        console.print(f"Nobody learns here: {obstacle}", style="yellow", soft_wrap=True)
    else:
        learned = learn(config, world, task_ids[: config.policy_episodes or None], console)
        show(learned, console)
        summaries += learned
        about = f"{POLICY} was trained by GRPO (preset {config.preset}) on {world.name} train."
        rows = read_log(out / "learning" / METRICS)
        training = Training(rows, load_run(out / POLICY), load_run(out / TRAINED), about)
        if risen := reward_rise(rows):
            console.print(f"Reward of sampled episodes, the straight line that fits {len(rows)} updates best: {risen}.")

    runs = [load_run(out / summary.agent) for summary in summaries]
    write_report(out / "index.html", runs, world=world, training=training)
    plot_accuracy([run.summary for run in runs], out / "accuracy.png")
    plot_searches([run.summary for run in runs], out / "searches.png")
    console.print(f"Open {out / 'index.html'} to see episodes.", soft_wrap=True)


def why_not(config: Config) -> str:
    """Return what keeps the policy from learning, or nothing."""
    if not config.seconds:
        return "--seconds is 0."
    if not all(find_spec(package) for package in ("torch", "transformers", "peft")):
        return "torch is not installed; pip install 'mmsearch-env[agents]' brings it."
    try:
        trained = trained_for(POLICY)
    except ConfigurationError as error:
        return str(error)
    same = trained.get("world") == config.world
    return "" if same else f"{POLICY} was trained for another world than {config.world}."


def learn(config: Config, world: World, task_ids: Sequence[str], console: Console) -> list[Summary]:
    """Evaluate the policy, train it while there is time, and evaluate it again."""
    import torch  # which the first part does without

    from mmsearch_agents.grpo import GRPOLearner
    from mmsearch_agents.policy import QwenPolicy, freeze_vision, pictures_of
    from mmsearch_agents.presets import get_grpo_preset

    preset, folder = get_grpo_preset(config.preset), Path(config.out) / "learning"
    options = {**preset.env, **trained_for(POLICY)}
    test, practice = (make_envs(world, split, 64, options) for split in (config.split, "train"))
    policy = QwenPolicy.load(
        policy_folder(POLICY), codec=practice.stage.codec, dtype=torch.float32, seed=config.seed
    )  # small steps would be lost in half precision
    policy.sampling = preset.sampling
    freeze_vision(policy.model)
    learner = GRPOLearner(policy, preset.options, pictures=pictures_of(practice.stage), seed=config.seed)

    before = run(learner, test, POLICY, task_ids, config)
    rollouts = Rollouts(
        envs=practice, group_size=preset.group_size, tasks_per_batch=preset.tasks_per_batch, seed=config.seed
    )
    console.print(f"{POLICY} learns for {config.seconds:g} seconds: reward should rise, and the divergence stay small.")
    with TrainingLog(folder, samples_every=0, console=console) as log:
        train(learner, log.watch(TimeBudget(rollouts, config.seconds)), on_update=log)
    policy.save(folder / "policy")
    write_environment(folder / "policy", trained_for(POLICY))
    return [before, run(learner, test, TRAINED, task_ids, config)]


def run(learner: Learner, envs: MMSearchVectorEnv, agent: str, task_ids: Sequence[str], config: Config) -> Summary:
    """Play every task once, greedily."""
    with progress(agent) as on_episode:
        return evaluate(
            learner, envs, task_ids, agent=agent, out=Path(config.out) / agent, existing="replace",
            seed=config.seed, on_episode=on_episode,
        )  # fmt: skip


def make_envs(world: World, split: str, num_envs: int, options: Mapping[str, Any]) -> MMSearchVectorEnv:
    """Return rows over one split that take their next task from whoever plays them."""
    options = {**options, "world": world}
    return MMSearchVectorEnv(num_envs, split=split, copy=False, autoreset_mode=AutoresetMode.DISABLED, **options)


def show(summaries: Sequence[Summary], console: Console) -> None:
    """Print a table of all tasks, and one each of those that need search and those that need none."""
    tables = {
        "all": measures_table("agent", title=f"{summaries[0].world} {summaries[0].split}: all tasks"),
        "true": measures_table("agent", title="the tasks that need search"),
        "false": measures_table("agent", title="the tasks that need none"),
    }
    for summary in summaries:
        for part, measures in {"all": summary.overall, **summary.by["needs_search"]}.items():
            tables[part].add_row(summary.agent, *measures_cells(measures))
    for table in tables.values():
        console.print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for one in fields(Config):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=type(one.default), default=one.default)
    main(Config(**vars(parser.parse_args())))
