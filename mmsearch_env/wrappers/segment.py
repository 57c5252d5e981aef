"""An action is a stretch of token ids, up to a whole turn: what a generating policy gives at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsInt, cast

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from mmsearch_env.env import MMSearchEnv, Observation
from mmsearch_env.errors import ActionError
from mmsearch_env.spaces import TokenSegment

Segment = Sequence[int] | npt.NDArray[np.integer[Any]]


class SegmentActions(gym.Wrapper[Observation, Segment, Observation, SupportsInt], gym.utils.RecordConstructorArgs):
    """Take a stretch of ids per step. Every id is an action of the episode, exactly as if stepped one by one.

    The end-of-turn id may only stand last. When the context fills up, the ids that no longer fit are dropped, as they
    would be in a loop that stops at the end of the episode.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an `MMSearchEnv`."""
        gym.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        stage = cast(MMSearchEnv, env.unwrapped).stage
        self.action_space = TokenSegment(stage.codec.vocab_size, stage.codec.end_of_turn_id, stage.rules.max_tokens)

    def step(self, action: Segment) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Step through the ids of `action`.

        Raises:
            ActionError: if it is no stretch of ids of the vocabulary, or goes on behind the end of the turn.
        """
        if not self.action_space.contains(action):
            raise ActionError(
                f"Expected a member of {self.action_space}, got {action!r}. Give at least one id, ids of this "
                "vocabulary only, and nothing behind the end-of-turn id: one turn a step."
            )
        for token_id in np.asarray(action).tolist():
            observation, reward, terminated, truncated, info = self.env.step(token_id)
            if terminated or truncated:
                break
        # Only a turn's last id can be rewarded, and it stands last in the segment.
        return observation, float(reward), terminated, truncated, info
