"""A learner for tests: it plays the same turns in every episode, id by id."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from mmsearch_agents.learner import Decision
from tests.acting import ids_of


class Repeater:
    """Says `moves` (see `acting.ids_of`) in every episode; after `limit` decisions it stops as if by Ctrl-C."""

    def __init__(self, envs: Any, *moves: Any, limit: int | None = None) -> None:
        self.envs, self.limit = envs, limit
        self.ids = ids_of(envs.stage, *moves)

    def act(self, observations: Any, *, deterministic: bool = False) -> Decision:
        if self.limit is not None:
            self.limit -= 1
            if self.limit < 0:
                raise KeyboardInterrupt
        said = [int(one.context.loss_mask.sum()) if one else 0 for one in self.envs.episodes]  # None where idle
        return Decision(np.array([self.ids[min(count, len(self.ids) - 1)] for count in said]))

    def learn(self, trajectories: Any) -> dict[str, float]:
        return {}

    def save(self, path: Any) -> None:
        raise NotImplementedError

    @classmethod
    def load(cls, path: Any) -> Self:
        raise NotImplementedError
