"""Measure how well agents search: `python examples/evaluate.py --agents tiny-base,tiny-sft,tiny-grpo`.

An agent is a name (`refiner`, `tiny-sft`), the folder of a saved learner or policy, or a Qwen2.5-VL on the hub. Each
plays all tasks greedily in the environment that it was trained for; with `--temperature 1 --seeds 3` three times more,
with ids drawn at that temperature. Writes what `mmsearch eval` writes, a folder per run.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path

import tyro
from gymnasium.vector import AutoresetMode
from rich.console import Console

from mmsearch_agents import make_learner
from mmsearch_agents.cli import measures_cells, measures_table, print_summary
from mmsearch_agents.evaluate import Summary, evaluate, sample_tasks
from mmsearch_agents.grpo import GRPOLearner
from mmsearch_agents.learner import Learner
from mmsearch_agents.policy import QwenPolicy, Sampling
from mmsearch_agents.sft import SFTLearner
from mmsearch_agents.shipped import trained_for
from mmsearch_env.cli.progress import progress
from mmsearch_env.vector import MMSearchVectorEnv


@dataclass(frozen=True)
class Config:
    """Who plays what, how, and where it goes."""

    agents: str = "tiny-sft"  # names or folders, with commas between
    split: str = "test"  # or validation, train, ood
    episodes: int = 0  # of the split; 0 for all
    temperature: float = 0.0  # of the runs that are not greedy; 0 for none
    seeds: int = 1  # how many such runs
    world: str = ""  # instead of the one that an agent was trained for
    num_envs: int = 64  # rows that are played together
    out: str = "runs/evaluate"  # gets a folder of figures and episodes for each run


def main(config: Config) -> dict[str, Summary]:
    """Evaluate all agents; print each run by the parts of the split, then all runs side by side."""
    console = Console()
    summaries: dict[str, Summary] = {}
    for agent in config.agents.split(","):
        learner, envs = load(agent, config)
        seeds: list[int | None] = [None]  # of a greedy run
        if config.temperature and isinstance(learner, SFTLearner | GRPOLearner):
            learner.policy.sampling = Sampling(temperature=config.temperature)
            seeds += range(config.seeds)
        for seed in seeds:
            summary = run(learner, envs, agent, seed, config)
            summaries[summary.agent] = summary
            print_summary(summary, console)

    table = measures_table("run", title=f"{config.split}, temperature {config.temperature:g} where drawn")
    for name, summary in summaries.items():
        table.add_row(name, *measures_cells(summary.overall))
    console.print(table)
    return summaries


def load(agent: str, config: Config) -> tuple[Learner, MMSearchVectorEnv]:
    """Return the agent, and rows that are made as it is used to."""
    folder = Path(agent)
    is_model = (folder / "config.json").exists() if folder.exists() else "/" in agent
    is_model = is_model and not (folder / "policy.json").exists()
    options = {"tokenizer": agent} if is_model else trained_for(agent)
    if config.world:
        options["world"] = config.world
    envs = MMSearchVectorEnv(
        config.num_envs, split=config.split, copy=False, autoreset_mode=AutoresetMode.DISABLED, **options
    )
    if is_model:
        return SFTLearner(QwenPolicy.from_pretrained(agent, codec=envs.stage.codec)), envs
    return make_learner(agent, envs), envs


def run(learner: Learner, envs: MMSearchVectorEnv, agent: str, seed: int | None, config: Config) -> Summary:
    """Play the same tasks, greedily or with ids drawn by a seed."""
    name = agent if seed is None else f"{agent} drawn {seed}"
    if seed is not None and isinstance(learner, SFTLearner | GRPOLearner):
        learner.policy.generator.manual_seed(seed)
    task_ids = sample_tasks(envs.stage.tasks, config.episodes or None)
    with progress(name) as on_episode:
        return evaluate(
            learner, envs, task_ids, agent=name, out=Path(config.out) / name.replace("/", "_").replace(" ", "-"),
            existing="replace", deterministic=seed is None, seed=seed, command=command(config), on_episode=on_episode,
        )  # fmt: skip


def command(config: Config) -> str:
    """Return what gives these results again."""
    flags = (("--" + one.name.replace("_", "-"), getattr(config, one.name), one.default) for one in fields(config))
    given = (word for flag, value, default in flags if value != default for word in (flag, str(value)))
    return shlex.join(["python", "examples/evaluate.py", *given])


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
