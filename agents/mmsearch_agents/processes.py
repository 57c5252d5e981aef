"""Training one policy in several processes: who learns from which part of a batch, and what is counted over all parts.

Each process plays its own tasks and learns from its own episodes. What a loss is divided by is counted over all of
them, so that their step is the one that a single process would make on the whole batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np

from mmsearch_agents.learner import Learner
from mmsearch_agents.sources import Dataset, Rollouts
from mmsearch_env.errors import ConfigurationError
from mmsearch_env.trajectory import Trajectory

T = TypeVar("T")


class Processes:
    """A process that trains alone, and what it is to one of several: see `mmsearch_agents.accelerated.Accelerated`.

    All of them call every method but `part` and `seed` at the same places, as they wait for one another there.

    Attributes:
        rank: number of this process, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the one that evaluates and writes."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Return the value of each process, by rank; plain JSON values, and NaN."""
        return [value]

    def total(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Return the sums of figures over all processes; one that a process does not name is 0 there."""
        sums: dict[str, float] = defaultdict(float)
        for one in self.gather(dict(figures)):
            for name, value in one.items():
                sums[name] += value
        return dict(sums)

    def part(self, values: Sequence[T]) -> list[T]:
        """Return this process's part of what is to be divided: consecutive, as many as the others' or one more."""
        size, more = divmod(len(values), self.count)
        start = self.rank * size + min(self.rank, more)
        return list(values[start : start + size + (self.rank < more)])

    def seed(self, seed: int) -> int:
        """Return a seed of this process's own; that of the first is `seed` itself."""
        if not self.rank:
            return seed
        return int(np.random.SeedSequence((seed % 2**64, self.rank)).generate_state(1, np.uint64)[0] >> 1)

    def prepare(self, scorer: Any, optimizer: Any) -> Any:
        """Return `scorer` as a module whose gradients are those of all processes.

        Args:
            scorer: a `TokenScorer`; it stays what it is for passes without gradients.
            optimizer: the `Optimizer` of its weights.
        """
        return scorer

    def accumulate(
        self, prepared: Any, parts: Sequence[T], loss_of: Callable[[T], Any], idle: Callable[[], Any]
    ) -> None:
        """Add up gradients: of all parts of all processes, whose losses add up to the whole one.

        Args:
            prepared: what `prepare` returned; every loss comes of one pass through it.
            parts: of this process; there may be none.
            loss_of: computes the loss of a part.
            idle: computes a loss of 0, for a process with fewer parts than others.
        """
        for part in parts:
            loss_of(part).backward()

    def end(self) -> None:
        """Wait for the others and part with them; nothing can be asked of them any more."""


ALONE = Processes()


def part_of(source: Rollouts | Dataset, processes: Processes) -> Rollouts | Dataset:
    """Return a source of this process's part of each batch of `source`; a group of episodes is never divided.

    Args:
        source: the same in every process: the batch that it tells of is that of all together.
        processes: that share it.

    Raises:
        ConfigurationError: if a batch has not as many tasks, or episodes, as there are processes, or the source is of
            another kind.
    """
    if processes.count == 1:
        return source
    if not isinstance(source, (Rollouts, Dataset)):
        raise ConfigurationError(
            f"Expected Rollouts or a Dataset to divide among {processes.count} processes, got "
            f"{type(source).__name__}. Divide what it yields by `processes.part`, whole groups to each."
        )
    size = source.tasks_per_batch if isinstance(source, Rollouts) else source.batch_size
    if size < processes.count:
        raise ConfigurationError(
            f"Expected batches of at least {processes.count} tasks, one for each process, got {size}. "
            "Make them larger, or start fewer processes."
        )
    kind = _PartOfRollouts if isinstance(source, Rollouts) else _PartOfDataset
    return kind(**{one.name: getattr(source, one.name) for one in fields(source)}, processes=processes)


@dataclass(frozen=True, kw_only=True)
class _PartOfRollouts(Rollouts):
    processes: Processes

    def _draws(self) -> Iterator[list[str]]:
        return map(self.processes.part, super()._draws())


@dataclass(frozen=True, kw_only=True)
class _PartOfDataset(Dataset):
    processes: Processes

    def batches(self, learner: Learner) -> Iterator[list[Trajectory]]:
        """Yield this process's part of each batch; of a last, small one that may be nothing."""
        return map(self.processes.part, super().batches(learner))
