"""Exact integer resampling: the same picture gives the same numbers on every machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


def area_average(values: npt.NDArray[np.integer], rows: int, columns: int) -> Integers:
    """Average `values` over a grid of equal cells, in which a pixel on a border counts in part to both sides.

    Args:
        values: integers (height, width) or (height, width, channels).
        rows: cells downwards.
        columns: cells across.

    Returns:
        int64 (rows, columns) or (rows, columns, channels), means rounded down.
    """
    height, width = values.shape[:2]
    # A cell covers (height / rows) x (width / columns) pixels, and its sum is scaled by rows * columns.
    averages: Integers = _cell_sums(_cell_sums(values, rows, 0), columns, 1) // (height * width)
    return averages


def _cell_sums(values: npt.NDArray[np.integer], cells: int, axis: int) -> Integers:
    """Return the sums over `cells` equal stretches along `axis`, scaled by `cells` to stay whole."""
    length = values.shape[axis]
    # An edge lies `part / cells` of the way into pixel `whole`.
    whole, part = np.divmod(np.arange(cells + 1) * length, cells)
    starts = np.unique(whole[:-1])
    stretches = np.add.reduceat(values, starts, axis=axis, dtype=np.int64)
    before = np.insert(np.cumsum(stretches, axis=axis), 0, 0, axis=axis).take(np.searchsorted(starts, whole), axis=axis)
    # The last edge is the picture's border: its part is zero, so any pixel may stand in.
    pixel = values.take(np.minimum(whole, length - 1), axis=axis)
    shape = [1] * values.ndim
    shape[axis] = cells + 1
    sums: Integers = np.diff(cells * before + part.reshape(shape) * pixel, axis=axis)
    return sums
