"""What a learner is, where its trajectories come from, and the loop between the two."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from mmsearch_env.errors import ConfigurationError
from mmsearch_env.trajectory import Trajectory

Observations = Mapping[str, npt.NDArray[Any]]
"""The observations of a vector environment: `image`, `question`, `tokens`, `length`, each with N rows."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The next id of each row.

    Attributes:
        token_ids: integers (N,).
        logprobs: of those ids under the policy that sampled them, float32 (N,); None if there is no such thing.
    """

    token_ids: npt.NDArray[np.int64]
    logprobs: npt.NDArray[np.float32] | None = None


class Learner(Protocol):
    """Chooses tokens, and learns from finished episodes.

    A learner that thinks in text (a script, a served model) queues the tokens of its turn and hands them out one by
    one; so every learner runs in every loop.
    """

    def act(self, observations: Observations, *, deterministic: bool = False) -> Decision:
        """Choose the next id of every row. A row whose episode is over may be given any id."""
        ...

    def learn(self, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """Make one update and return its metrics; `{}` for a learner that does not learn."""
        ...

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the learner to a folder."""
        ...

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read back what `save` wrote."""
        ...


class Source(Protocol):
    """Where trajectories come from: played now (`Rollouts`) or long ago (`Dataset`)."""

    def batches(self, learner: Learner) -> Iterator[list[Trajectory]]:
        """Yield the batches to learn from, one per update."""
        ...


def train(
    learner: Learner,
    source: Source,
    *,
    updates: int | None = None,
    on_update: Callable[[int, Mapping[str, float]], None] | None = None,
) -> list[dict[str, float]]:
    """Update `learner` with the batches of `source`.

    Args:
        learner: any learner.
        source: any source.
        updates: stop after so many; None for as many as the source has.
        on_update: called after each update with its number, from 0, and its metrics.

    Returns:
        The metrics of each update: `reward` (mean), `episodes`, and what the learner reports.

    Raises:
        ConfigurationError: if `updates` is negative.
    """
    if updates is not None and updates < 0:
        raise ConfigurationError(
            f"Expected updates to be 0 or more, got {updates}. A learner that goes on from a checkpoint may have made "
            "them already: its `batches` says how many."
        )
    history = []
    for update, trajectories in enumerate(islice(source.batches(learner), updates)):
        rewards = [trajectory.reward for trajectory in trajectories]
        mean = float(np.mean(rewards)) if rewards else float("nan")
        metrics = {"reward": mean, "episodes": float(len(rewards)), **learner.learn(trajectories)}
        history.append(metrics)
        if on_update is not None:
            on_update(update, metrics)
    return history
