"""An action is the text of a whole turn, and the observation is text and picture: for people and for served models."""

from __future__ import annotations

from typing import Any, cast

import gymnasium as gym
from gymnasium import spaces

from mmsearch_env.env import MMSearchEnv, Observation
from mmsearch_env.errors import ActionError
from mmsearch_env.spaces import UnicodeText

# A token of a byte-level vocabulary rarely stands for more characters; the bound only has to be safe.
_CHARACTERS_PER_TOKEN = 64


class TextActions(gym.Wrapper[dict[str, Any], str, Observation, Any], gym.utils.RecordConstructorArgs):
    """Take the text of a turn per step; it is encoded once, and the end-of-turn id is added.

    The observation is `Dict(image, text)`: the picture, and the whole context decoded, with the special tokens by name.
    Text never becomes a special token: `<|im_end|>` typed out is a few ordinary pieces. A policy whose ids were sampled
    should use `SegmentActions`, which keeps them as they are.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wrap an `MMSearchEnv`."""
        gym.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        base = cast(MMSearchEnv, env.unwrapped)
        self._codec = base.stage.codec
        longest = base.stage.rules.max_tokens * _CHARACTERS_PER_TOKEN
        self.observation_space = spaces.Dict(
            {"image": cast(spaces.Dict, env.observation_space)["image"], "text": UnicodeText(longest)}
        )
        self.action_space = self._texts = UnicodeText(longest)

    def reset(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode; see `MMSearchEnv.reset`."""
        observation, info = self.env.reset(**kwargs)
        return self._in_words(observation), info

    def step(self, action: str) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Take a whole turn.

        Raises:
            ActionError: if the action is no text, or longer than the space allows.
        """
        if not self.action_space.contains(action):
            got = f"{len(action)} characters" if isinstance(action, str) else type(action).__name__
            raise ActionError(f"Expected a text of at most {self._texts.max_length} characters, got {got}.")
        base = cast(gym.Env[Observation, Any], self.env)
        for token_id in [*self._codec.encode_move(action), self._codec.end_of_turn_id]:
            observation, reward, terminated, truncated, info = base.step(token_id)
            if terminated or truncated:
                break
        return self._in_words(observation), float(reward), terminated, truncated, info

    def _in_words(self, observation: Observation) -> dict[str, Any]:
        ids = observation["tokens"][: int(observation["length"][0])]
        return {"image": observation["image"], "text": self._codec.decode(ids)}
