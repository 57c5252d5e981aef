"""Evaluating a learner: play tasks, keep every episode, sum up."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmsearch_agents.learner import Learner
from mmsearch_agents.metrics import Measures, is_fault, measure, measure_by, score
from mmsearch_agents.run_folder import Existing, RunFolder
from mmsearch_agents.sources import play
from mmsearch_env.errors import BackendError, ConfigurationError
from mmsearch_env.records import Task
from mmsearch_env.rewards.reward import Judge
from mmsearch_env.trajectory import Trajectory
from mmsearch_env.vector import MMSearchVectorEnv
from mmsearch_env.version import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The results of an evaluation.

    Attributes:
        agent: name of the learner.
        world: name of the world.
        world_hash: its hash.
        split: the split played, or None for all.
        overall: the measures over all episodes.
        by: the same over parts: `needs_search`, `category`, `domain` -> value -> measures.
        faults: episodes in which the world failed; they are left out of all measures.
        versions: versions of what produced the results.
        command: the command that gives these results again, or None.
        settings: the environment's options.
        seed: of the sample of tasks and of the learner, or None.
    """

    agent: str
    world: str
    world_hash: str
    split: str | None
    overall: Measures
    by: Mapping[str, Mapping[str, Measures]]
    faults: int
    versions: Mapping[str, str]
    command: str | None
    settings: Mapping[str, Any]
    seed: int | None

    def to_row(self) -> dict[str, Any]:
        """Return the content of `summary.json`: plain JSON values, the overall measures at the top level."""
        parts = {name: {value: one.to_row() for value, one in part.items()} for name, part in self.by.items()}
        return {
            "agent": self.agent,
            "world": self.world,
            "world_hash": self.world_hash,
            "split": self.split,
            **self.overall.to_row(),
            "by": parts,
            "faults": self.faults,
            "versions": dict(self.versions),
            "command": self.command,
            "settings": dict(self.settings),
            "seed": self.seed,
        }


def sample_tasks(tasks: Sequence[Task], episodes: int | None = None, *, seed: int = 0) -> list[str]:
    """Draw tasks without replacement; the first n of a larger sample are the sample of size n.

    Args:
        tasks: the tasks to draw from.
        episodes: how many; None for all.
        seed: fixes both which and in what order.

    Returns:
        Their ids.

    Raises:
        ConfigurationError: if there are not so many tasks.
    """
    if episodes is not None and not 1 <= episodes <= len(tasks):
        raise ConfigurationError(
            f"Expected episodes to be between 1 and {len(tasks)}, the number of tasks there are, got {episodes}. "
            "Ask for fewer, or leave it out to play all."
        )
    # Ordered by a hash, not by a generator, whose streams may change between releases of NumPy or Python.
    order = {task.id: hashlib.sha256(f"{seed}:{task.id}".encode()).digest() for task in tasks}
    return sorted(order, key=lambda task_id: (order[task_id], task_id))[:episodes]


def evaluate(
    learner: Learner,
    envs: MMSearchVectorEnv,
    task_ids: Sequence[str],
    *,
    agent: str | None = None,
    out: str | os.PathLike[str] | None = None,
    existing: Existing = "error",
    judge: str | Judge = "rules",
    deterministic: bool = True,
    seed: int | None = None,
    command: str | None = None,
    on_episode: Callable[[int, int], None] | None = None,
) -> Summary:
    """Play every task once and sum up.

    Args:
        learner: who acts.
        envs: a vector environment with `autoreset_mode=AutoresetMode.DISABLED`.
        task_ids: the tasks; an id may occur several times.
        agent: the learner's name in the summary; its class's by default.
        out: folder of the run (see `run_folder`); None writes nothing.
        existing: what to do about a run that is in `out` already: refuse (`error`), play only what it lacks (`resume`),
            or remove it first (`replace`).
        judge: decides on answers where the reward has no term `correct`.
        deterministic: whether the learner acts greedily.
        seed: noted in the summary.
        command: noted in the summary.
        on_episode: called with the number of episodes done and their total, once at the start and after each.

    Raises:
        ConfigurationError: if there are no tasks, or `out` holds a run and `existing` forbids or does not fit it.
        TrajectoryError: if a run cannot be resumed since its file is damaged.
        BackendError: if the world or the judge fails and the environment's `on_fault` is "raise".
    """
    if not task_ids:
        raise ConfigurationError("Expected at least one task to play, got none.")
    name = type(learner).__name__ if agent is None else agent
    world = envs.stage.world
    folder: RunFolder | None = None
    done: dict[int, Trajectory] = {}
    if out is not None:
        folder = RunFolder.open(Path(out), _describe(name, envs, task_ids, deterministic, seed), existing)
        done = folder.stored(task_ids, world.hash)
    resumed, started = len(done), time.perf_counter()
    waiting = [position for position in range(len(task_ids)) if position not in done]
    report = on_episode or (lambda played, total: None)
    report(resumed, len(task_ids))
    try:
        with nullcontext() if folder is None else folder.writer() as file:
            left = [task_ids[position] for position in waiting]
            for index, trajectory in play(learner, envs, left, deterministic=deterministic):
                if folder is not None and file is not None:
                    folder.copy_pictures(trajectory, world)
                    file.write(trajectory, {})
                done[waiting[index]] = trajectory
                report(len(done), len(task_ids))
    except BaseException:
        if folder is not None and not done:
            folder.discard()  # nothing was played, so there is nothing to resume
        raise

    trajectories = [done[position] for position in range(len(task_ids))]
    summary = _sum_up(trajectories, envs, agent=name, judge=judge, seed=seed, command=command)
    if folder is not None:
        if list(done) != sorted(done):
            for trajectory in trajectories:
                folder.copy_pictures(trajectory, world)
            folder.put_in_order(trajectories)
        telemetry = {
            "seconds": round(time.perf_counter() - started, 3),
            "episodes_played": len(waiting),
            "episodes_resumed": resumed,
            "num_envs": envs.num_envs,
        }
        folder.write_results(summary.to_row(), telemetry)
    return summary


def _sum_up(
    trajectories: Sequence[Trajectory],
    envs: MMSearchVectorEnv,
    *,
    agent: str,
    judge: str | Judge,
    seed: int | None,
    command: str | None,
) -> Summary:
    rules = envs.stage.rules
    scores = [score(one, rules.dialect, judge) for one in trajectories if not is_fault(one)]
    if not scores:
        raise BackendError(
            f"Expected an episode that can be scored, but the world failed in all {len(trajectories)}: "
            f"{trajectories[0].cause}. Mend it, and evaluate anew."
        )
    return Summary(
        agent=agent,
        world=rules.world,
        world_hash=rules.world_hash,
        split=envs.stage.split,
        overall=measure(scores),
        by=measure_by(scores),
        faults=len(trajectories) - len(scores),
        versions={
            "mmsearch_env": __version__,
            "python": platform.python_version(),
            **{package: version(package) for package in ("gymnasium", "numpy")},
        },
        command=command,
        settings=rules.settings,
        seed=seed,
    )


def _describe(
    agent: str, envs: MMSearchVectorEnv, task_ids: Sequence[str], deterministic: bool, seed: int | None
) -> dict[str, Any]:
    """Return what must be equal for a run to be resumed."""
    rules = envs.stage.rules
    return {
        "agent": agent,
        "world": rules.world,
        "world_hash": rules.world_hash,
        "seed": seed,
        "episodes": len(task_ids),
        "deterministic": deterministic,
        **rules.settings,
        "tasks": hashlib.sha256("\n".join(task_ids).encode()).hexdigest(),
        "mmsearch_env": __version__,
    }
