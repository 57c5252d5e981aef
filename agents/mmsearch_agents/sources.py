"""Where trajectories come from: playing them, or a file of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from gymnasium.vector import AutoresetMode

from mmsearch_agents.learner import Learner
from mmsearch_env.errors import ConfigurationError
from mmsearch_env.records import Task
from mmsearch_env.trajectory import Trajectory
from mmsearch_env.vector import MMSearchVectorEnv


def play(
    learner: Learner, envs: MMSearchVectorEnv, task_ids: Iterable[str], *, deterministic: bool = False
) -> Iterator[tuple[int, Trajectory]]:
    """Play every task once and yield `(position in task_ids, trajectory)` as the episodes end.

    A row that is done takes the next task at once; rows idle, unplayed, when no task is left.

    Args:
        learner: who acts.
        envs: a vector environment with `autoreset_mode=AutoresetMode.DISABLED`.
        task_ids: the tasks, in the order in which they are begun; an id may occur several times.
        deterministic: passed on to the learner.

    Raises:
        ConfigurationError: if `envs` resets rows by itself, or a task is not in its split.
    """
    if envs.autoreset_mode != AutoresetMode.DISABLED:
        raise ConfigurationError(
            f"Expected a vector environment with autoreset_mode=AutoresetMode.DISABLED, got {envs.autoreset_mode}. "
            "Rows take their next task from the list, so they must not draw one themselves."
        )
    waiting = deque(enumerate(task_ids))
    rows = envs.num_envs
    playing: list[int | None] = [None] * rows
    logprobs: list[list[float]] = [[] for _ in range(rows)]
    if not waiting:
        return
    free = np.ones(rows, np.bool_)
    while True:
        begun: list[str | None] = [None] * rows
        mask = np.zeros(rows, np.bool_)
        for row in np.flatnonzero(free).tolist():
            if waiting:
                playing[row], begun[row] = waiting.popleft()
                mask[row], logprobs[row] = True, []
        if mask.any():
            observations, _ = envs.reset(options={"reset_mask": mask, "task_ids": begun})
        if all(position is None for position in playing):
            return
        free = np.zeros(rows, np.bool_)
        while not free.any():
            decision = learner.act(observations, deterministic=deterministic)
            token_ids = np.asarray(decision.token_ids)
            if decision.logprobs is not None:
                for row, value in enumerate(np.asarray(decision.logprobs).tolist()):
                    if playing[row] is not None:
                        logprobs[row].append(value)
            observations, _, terminations, truncations, infos = envs.step(token_ids)
            free = (terminations | truncations) & np.array([position is not None for position in playing])
        for row in np.flatnonzero(free).tolist():
            trajectory: Trajectory = infos["trajectory"][row]
            position, playing[row] = playing[row], None
            if position is not None:
                yield position, trajectory.with_logprobs(logprobs[row]) if logprobs[row] else trajectory


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """Plays groups of episodes from the same initial state, as GRPO needs them.

    Attributes:
        envs: a vector environment with `autoreset_mode=AutoresetMode.DISABLED`.
        group_size: episodes per task.
        tasks_per_batch: tasks per batch; a batch holds `tasks_per_batch * group_size` trajectories, group by group.
        seed: of the order of tasks; each epoch is a new permutation of the split.
        deterministic: whether the learner acts greedily.
        skip: how many batches to leave out at the beginning, unplayed, to go on where training stopped.
    """

    envs: MMSearchVectorEnv
    group_size: int = 8
    tasks_per_batch: int = 8
    seed: int = 0
    deterministic: bool = False
    skip: int = 0

    def __post_init__(self) -> None:
        """Refuse empty batches.

        Raises:
            ConfigurationError: if a size is not positive.
        """
        check_sizes(group_size=self.group_size, tasks_per_batch=self.tasks_per_batch)

    def batches(self, learner: Learner) -> Iterator[list[Trajectory]]:
        """Yield batches of fresh trajectories for ever."""
        for task_ids in islice(self._draws(), self.skip, None):
            repeated = [task_id for task_id in task_ids for _ in range(self.group_size)]
            played = dict(play(learner, self.envs, repeated, deterministic=self.deterministic))
            yield [played[position] for position in range(len(repeated))]

    def _draws(self) -> Iterator[list[str]]:
        return drawn(self.envs.stage.tasks, size=self.tasks_per_batch, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Stored trajectories, for SFT and offline RL.

    Attributes:
        trajectories: the episodes.
        batch_size: episodes per batch.
        epochs: how often each is seen.
        seed: of the order, anew in each epoch.
        skip: how many batches to leave out at the beginning, to go on where training stopped.
    """

    trajectories: Sequence[Trajectory]
    batch_size: int = 8
    epochs: int = 1
    seed: int = 0
    skip: int = 0

    def __post_init__(self) -> None:
        """Refuse empty batches.

        Raises:
            ConfigurationError: if a size is not positive.
        """
        check_sizes(batch_size=self.batch_size, epochs=self.epochs)

    def batches(self, learner: Learner) -> Iterator[list[Trajectory]]:
        """Yield the batches of all epochs; the last one of an epoch may be smaller."""
        yield from islice(self._all(), self.skip, None)

    def _all(self) -> Iterator[list[Trajectory]]:
        rng = np.random.default_rng(self.seed)
        for _ in range(self.epochs):
            order = rng.permutation(len(self.trajectories)).tolist()
            for start in range(0, len(order), self.batch_size):
                yield [self.trajectories[index] for index in order[start : start + self.batch_size]]


def drawn(tasks: Sequence[Task], *, size: int, seed: int) -> Iterator[list[str]]:
    """Yield the ids of so many tasks for ever; each epoch is a new permutation, and a batch may lie in two."""
    rng = np.random.default_rng(seed)
    upcoming: list[str] = []
    while True:
        while len(upcoming) < size:
            upcoming += [tasks[index].id for index in rng.permutation(len(tasks)).tolist()]
        yield upcoming[:size]
        upcoming = upcoming[size:]


def check_sizes(**sizes: int) -> None:
    """Refuse batches and the like that would be empty.

    Raises:
        ConfigurationError: naming the size that is not positive.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ConfigurationError(f"Expected {name} to be at least 1, got {size}.")
