"""Layout features: what colour and what contour is where in a region, in whole numbers.

Cells are described against the region's own average, so that lamp light, shade and the colour of the paper matter
little. Every step is integer arithmetic; `//` rounds down everywhere alike.
"""

from __future__ import annotations

import numpy as np

from mmsearch_env.search.resample import Integers, area_average


def colour_layout(small: Integers, cells: int) -> Integers:
    """Describe where a picture is lighter, redder or bluer than its average.

    Args:
        small: RGB, (size, size, 3), in [0, 255].
        cells: cells across and down.

    Returns:
        int64 (cells, cells, 3): lightness in [-80, 80], red against green and blue against yellow in [-510, 510].
    """
    grid = area_average(small, cells, cells)
    red, green, blue = grid[..., 0], grid[..., 1], grid[..., 2]
    light = red + 2 * green + blue
    contrast = _mean(np.abs(light - _mean(light))) + 24
    # Colour is told relative to the light that falls on it; the constant keeps dark pictures from being all colour.
    level = _mean(light) // 4 + 48
    channels = (
        np.clip(32 * (light - _mean(light)) // contrast, -80, 80),
        2 * np.clip(_centred(128 * (red - green) // level), -255, 255),
        2 * np.clip(_centred(64 * (2 * blue - red - green) // level), -255, 255),
    )
    return np.stack(channels, axis=-1)


def edge_layout(small: Integers, cells: int) -> Integers:
    """Describe where a picture has edges of which direction, strong or faint, dark on light or light on dark.

    Args:
        small: RGB, (size, size, 3), in [0, 255].
        cells: cells across and down.

    Returns:
        int64 (cells, cells, 4), in [0, 255]: edges that are upright, level, and along the two diagonals.
    """
    across, down = np.zeros_like(small), np.zeros_like(small)
    across[:, 1:-1] = small[:, 2:] - small[:, :-2]
    down[1:-1] = small[2:] - small[:-2]
    # The channel that changes most speaks: red beside green of the same lightness is an edge too.
    channel = np.argmax(np.abs(across) + np.abs(down), axis=-1)[..., np.newaxis]
    across = 4 * np.take_along_axis(across, channel, axis=-1)[..., 0]
    down = 4 * np.take_along_axis(down, channel, axis=-1)[..., 0]
    # 181 / 256 is the square root of a half, which makes the four directions equally strong.
    diagonals = np.abs(across + down) * 181 // 256, np.abs(across - down) * 181 // 256
    strength = np.stack([np.abs(across), np.abs(down), *diagonals], axis=-1)
    # What exceeds the weakest direction: noise, which has no direction, falls away.
    strength -= strength.min(axis=-1, keepdims=True)
    # Thin and faint lines count almost as much as strong ones.
    strength = 255 * strength // (strength + 3 * (_mean(strength) + 4))
    grid = area_average(16 * strength, cells, cells)
    return np.clip(40 * grid // (_mean(grid) + 32), 0, 255)


def aspect(height: int, width: int) -> int:
    """Return the shape of a region as 64 times the binary logarithm of width / height, about, within [-256, 256].

    Computed by squaring, since logarithms differ in the last bit from machine to machine.
    """
    sign, long, short = (1, width, height) if width >= height else (-1, height, width)
    if long >= 16 * short:
        return 256 * sign
    # log2 by halving and squaring the ratio, which is kept as a fixed-point number with 16 bits after the point.
    ratio, result = (long << 16) // short, 0
    while ratio >= 2 << 16:
        ratio >>= 1
        result += 64
    for bit in (32, 16, 8, 4, 2, 1):
        ratio = ratio * ratio >> 16
        if ratio >= 2 << 16:
            ratio >>= 1
            result += bit
    return sign * result


def _mean(values: Integers) -> int:
    return int(values.sum()) // values.size


def _centred(values: Integers) -> Integers:
    return values - _mean(values)
