"""Reading the options and seeds of a reset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.utils import seeding

from mmsearch_env.errors import ConfigurationError, unknown

Flags = npt.NDArray[np.bool_]


def check_options(options: dict[str, Any] | None, known: Sequence[str]) -> dict[str, Any]:
    """Return the reset options, all of them known.

    Raises:
        ConfigurationError: if there is an unknown one.
    """
    for key in options or {}:
        if key not in known:
            raise ConfigurationError(unknown("the option of reset", key, known))
    return dict(options or {})


def mask_in(options: Mapping[str, Any], num_envs: int) -> Flags:
    """Return which rows to reset, bool (num_envs,): those of `reset_mask`, or all.

    Raises:
        ConfigurationError: if the mask has another type or shape, or no row.
    """
    if "reset_mask" not in options:
        return np.ones(num_envs, np.bool_)
    mask = options["reset_mask"]
    if not isinstance(mask, np.ndarray) or mask.shape != (num_envs,) or mask.dtype != np.bool_:
        got = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise ConfigurationError(f"Expected options['reset_mask'] to be a bool array ({num_envs},), got {got}.")
    if not mask.any():
        raise ConfigurationError("Expected options['reset_mask'] to be True for at least one row, got none.")
    return mask


def task_ids_in(options: Mapping[str, Any], num_envs: int) -> list[str | None]:
    """Return the task that each row is to begin, None for one that is drawn.

    Raises:
        ConfigurationError: if there are more or fewer than rows, or both `task_ids` and `task_id`.
    """
    if "task_ids" not in options:
        return [options.get("task_id")] * num_envs
    given = options["task_ids"]
    task_ids = list(given) if isinstance(given, Sequence | np.ndarray) and not isinstance(given, str) else []
    if len(task_ids) != num_envs or "task_id" in options:
        raise ConfigurationError(
            f"Expected options['task_ids'] to hold {num_envs} task ids (one per row) and no task_id beside, "
            f"got {given!r}{' and a task_id' if 'task_id' in options else ''}."
        )
    return task_ids


def seeded(
    generators: Sequence[np.random.Generator],
    seeds: Sequence[int],
    seed: int | Sequence[int | None] | None,
    mask: Flags,
) -> tuple[list[np.random.Generator], list[int]]:
    """Return the rows' generators and seeds after seeding; nothing that is passed in changes.

    Args:
        generators: the rows' generators so far, or none before the first reset.
        seeds: their seeds.
        seed: an int gives row i the seed + i, a sequence one seed per row; None leaves a row as it is.
        mask: the rows that are reset, bool (num_envs,).

    Raises:
        ConfigurationError: if there are more or fewer seeds than rows.
    """
    rows = len(mask)
    if seed is None or isinstance(seed, int | np.integer):
        wanted = [None if seed is None else int(seed) + row for row in range(rows)]
    else:
        wanted = list(seed)
        if len(wanted) != rows:
            raise ConfigurationError(f"Expected {rows} seeds, one per row, got {len(wanted)}.")
    if not generators:
        made = [seeding.np_random(value) for value in wanted]
        return [generator for generator, _ in made], [int(used) for _, used in made]
    after, used = list(generators), list(seeds)
    for row, value in enumerate(wanted):
        if value is not None and mask[row]:
            after[row], used[row] = seeding.np_random(value)
    return after, used
