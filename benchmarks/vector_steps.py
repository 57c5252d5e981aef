"""Times a token step of `MMSearchVectorEnv` per environment, against Gymnasium's `SyncVectorEnv` over `MMSearchEnv`.

python -m benchmarks.vector_steps [--world atlas] [--quick] [--out benchmarks/results]
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
from gymnasium.vector import SyncVectorEnv, VectorEnv

from benchmarks.timing import Report, Row, as_row, main, time_calls
from mmsearch_env import World
from mmsearch_env.env import MMSearchEnv
from mmsearch_env.vector import MMSearchVectorEnv

SIZES = (1, 16, 256)


def time_steps(envs: VectorEnv[Any, Any, Any], token_id: int, *, repeats: int, steps: int) -> list[float]:
    """Return the seconds that a step takes per environment, one number per repeat of `steps` vector steps."""
    actions = np.full(envs.num_envs, token_id)
    seconds = []
    for _ in range(repeats):
        envs.reset(seed=0)
        start = time.perf_counter()
        for _ in range(steps):
            envs.step(actions)
        seconds.append((time.perf_counter() - start) / steps / envs.num_envs)
    envs.close()
    return seconds


def run(world: World, *, quick: bool = False) -> Report:
    """Time vector steps in the middle of a turn, in which no row's turn ends."""
    repeats, full_steps = (2, 5) if quick else (15, 300)
    options: dict[str, Any] = {"world": world, "split": world.splits[0], "prompts": "short"}
    rows: list[Row] = []
    for size in SIZES:
        # Large vectors are slow where they copy, so they take fewer steps.
        steps = max(full_steps // max(size // 8, 1), 5)
        envs = MMSearchVectorEnv(size, **options)
        observations, _ = envs.reset(seed=0)
        (token_id,) = envs.stage.codec.encode("a")

        def copy_all(observations: dict[str, Any] = observations) -> None:
            for array in observations.values():
                array.copy()

        copying = time_calls(copy_all, repeats=repeats, loops=steps)
        rows.append(as_row(f"N={size}, copy the observations", [seconds / size for seconds in copying]))
        rows.append(
            as_row(
                f"N={size}, copy=True",
                time_steps(envs, token_id, repeats=repeats, steps=steps),
                reference=f"N={size}, SyncVectorEnv, copy=True",
            )
        )
        for copy in (True, False):
            make = partial(MMSearchEnv, **options, copy=copy)
            sync: VectorEnv[Any, Any, Any] = SyncVectorEnv([make] * size, copy=copy)
            name = f"N={size}, SyncVectorEnv, copy={copy}"
            rows.append(as_row(name, time_steps(sync, token_id, repeats=max(repeats // 3, 2), steps=steps)))
        viewing = MMSearchVectorEnv(size, **options, copy=False)
        rows.append(
            as_row(
                f"N={size}, copy=False",
                time_steps(viewing, token_id, repeats=repeats, steps=10 * steps),
                reference=f"N={size}, SyncVectorEnv, copy=False",
                budget=0.5 if size == SIZES[-1] else None,
            )
        )
    notes = (
        f"World {world.name}, picture 224 x 224, 2,048 tokens; times are per environment and step.",
        "With copy=True the observations of 256 environments are 41 MB, which are allocated and copied at every step.",
    )
    return Report("vector_steps", "A vector step in the middle of a turn, per environment", rows, notes)


if __name__ == "__main__":
    main(run, __doc__ or "")
