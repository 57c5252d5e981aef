"""Times a token step of `MMSearchEnv`, against a Gymnasium environment that does nothing and against copying alone.

python -m benchmarks.steps [--world atlas] [--quick] [--out benchmarks/results]
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from benchmarks.timing import Report, as_row, main, time_calls
from mmsearch_env import World
from mmsearch_env.env import MMSearchEnv, Observation


class ConstantEnv(gym.Env[Observation, int]):
    """The least that an environment with these spaces can do: it gives the same observation again and again."""

    def __init__(self, observation_space: gym.Space[Any], action_space: gym.Space[Any]) -> None:
        """Take the spaces of the environment that this one is compared with."""
        self.observation_space = observation_space
        self.action_space = action_space
        self._observation = observation_space.sample()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Return the observation."""
        super().reset(seed=seed)
        return self._observation, {}

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Return the observation."""
        return self._observation, 0.0, False, False, {}


def time_steps(env: gym.Env[Any, Any], token_id: int, *, repeats: int, steps: int) -> list[float]:
    """Return the seconds that a step takes, one number per episode of `steps` steps."""
    seconds = []
    for _ in range(repeats):
        env.reset(seed=0)
        step = env.step
        start = time.perf_counter()
        for _ in range(steps):
            step(token_id)
        seconds.append((time.perf_counter() - start) / steps)
    return seconds


def run(world: World, *, quick: bool = False) -> Report:
    """Time steps in the middle of a turn, with the default picture of 224 x 224 and 2,048 tokens."""
    repeats, steps = (3, 50) if quick else (60, 500)
    options: dict[str, Any] = {"world": world, "split": world.splits[0], "prompts": "short"}
    copying, viewing = MMSearchEnv(**options), MMSearchEnv(**options, copy=False)
    spaces = {"observation_space": copying.observation_space, "action_space": copying.action_space}
    constant = ConstantEnv(**spaces)
    observation, _ = copying.reset(seed=0)
    (token_id,) = copying.stage.codec.encode("a")

    def timed(env: gym.Env[Any, Any]) -> list[float]:
        return time_steps(env, token_id, repeats=repeats, steps=steps)

    with warnings.catch_warnings():
        # Observations that share memory are what copy=False is for; Gymnasium's checker rightly points them out.
        warnings.simplefilter("ignore", UserWarning)
        rows = [
            as_row("copy one observation", time_calls(lambda: copied(observation), repeats=repeats, loops=steps)),
            as_row("constant env", timed(constant)),
            as_row(
                "constant env, gym.make", timed(gym.make(EnvSpec("Constant-v0", lambda **_: ConstantEnv(**spaces))))
            ),
            as_row("copy=True", timed(copying), reference="copy one observation", budget=10),
            as_row(
                "copy=True, gym.make",
                timed(gym.make("MMSearch-v0", **options)),
                reference="copy one observation",
                budget=10,
            ),
            as_row("copy=False", timed(viewing), reference="constant env", budget=2),
            as_row(
                "copy=False, gym.make",
                timed(gym.make("MMSearch-v0", **options, copy=False)),
                reference="constant env, gym.make",
                budget=2,
            ),
        ]
    notes = (
        f"World {world.name}, picture 224 x 224, 2,048 tokens, {steps} steps per repeat.",
        "The constant env has the same spaces and returns one observation that was made beforehand.",
        "gym.make adds PassiveEnvChecker and OrderEnforcing, its default wrappers.",
    )
    return Report("steps", "A token step in the middle of a turn", rows, notes)


def copied(observation: Observation) -> Observation:
    """Copy an observation, as a caller must who keeps one from `copy=False`."""
    return {name: array.copy() for name, array in observation.items()}


if __name__ == "__main__":
    main(run, __doc__ or "")
