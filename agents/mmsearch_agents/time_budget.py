"""Training for so long, rather than for so many updates."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from mmsearch_agents.learner import Learner, Source
from mmsearch_env.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """A source that gives no further batch once its time is over.

    The time decides how many updates there are, and nothing else: those that are made are the first of any longer run.

    Attributes:
        source: where the batches come from.
        seconds: of playing and learning, by a clock that nobody sets; the update that is under way is finished, and at
            least one is made.
    """

    source: Source
    seconds: float

    def batches(self, learner: Learner) -> Iterator[list[Trajectory]]:
        """Yield the batches of the source while there is time."""
        end = time.monotonic() + self.seconds
        for trajectories in self.source.batches(learner):
            yield trajectories
            if time.monotonic() >= end:
                return
