"""Paints what stands behind the things of a scene: walls, tables, lawns, sky and sea, from a random generator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

Field = npt.NDArray[np.float64]
"""A grey field (height, width) or a colour picture (height, width, 3)."""

Colour = tuple[int, int, int]


def value_noise(rng: np.random.Generator, width: int, height: int, *, cells: tuple[int, int]) -> Field:
    """Return smooth noise (height, width) in about [-1, 1]: a random grid of `cells` (across, down), interpolated."""
    across, down = cells
    grid = rng.uniform(-1.0, 1.0, size=(down + 1, across + 1)).astype(np.float32)
    smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float64)


def light_gradient(rng: np.random.Generator, width: int, height: int, *, strength: float) -> Field:
    """Return a factor (height, width) that falls from one side of the picture to the other, 1 in the middle."""
    direction = rng.uniform(-1.0, 1.0, size=2)
    direction = direction / max(float(np.sqrt((direction**2).sum())), 1e-3)
    x = (np.arange(width) + 0.5) / width - 0.5
    y = (np.arange(height) + 0.5) / height - 0.5
    factor: Field = 1.0 + strength * (direction[0] * x[None, :] + direction[1] * y[:, None])
    return factor


def paint_background(kind: str, rng: np.random.Generator, width: int, height: int) -> Field:
    """Paint one background.

    Args:
        kind: a key of `BACKGROUNDS`.
        rng: decides colours, texture and light.
        width: in pixels.
        height: in pixels.

    Returns:
        RGB values in [0, 255], float64 (height, width, 3).

    Raises:
        KeyError: if there is no such kind.
    """
    picture = BACKGROUNDS[kind](rng, width, height)
    light = light_gradient(rng, width, height, strength=float(rng.uniform(0.05, 0.22)))
    lit: Field = np.clip(picture * light[:, :, None], 0.0, 255.0)
    return lit


def _plain(colour: Colour, width: int, height: int) -> Field:
    return np.tile(np.array(colour, dtype=np.float64), (height, width, 1))


def _shaded(colour: Colour, shade: Field) -> Field:
    """Paint one colour, lighter or darker by the factor `shade` (height, width)."""
    painted: Field = np.array(colour, dtype=np.float64) * shade[:, :, None]
    return painted


def _choose(rng: np.random.Generator, colours: tuple[Colour, ...], spread: int = 10) -> Colour:
    """Pick one of the colours and shift it a little."""
    base = colours[int(rng.integers(len(colours)))]
    red, green, blue = (int(np.clip(part + rng.integers(-spread, spread + 1), 0, 255)) for part in base)
    return red, green, blue


def _mix(first: Field, second: Field, share: Field) -> Field:
    """Blend two pictures; `share` (height, width) in [0, 1] is that of the second."""
    return first + (second - first) * np.clip(share, 0.0, 1.0)[:, :, None]


def _tiled(
    rng: np.random.Generator,
    size: tuple[int, int],
    tile: tuple[int, int],
    *,
    colour: Colour,
    joint: Colour,
    gap: int,
    variation: float,
    staggered: bool,
) -> Field:
    """Lay tiles of one colour, each a little lighter or darker, with joints between."""
    width, height = size
    across, down = tile
    y, x = np.mgrid[0:height, 0:width]
    y, x = y + int(rng.integers(down)), x + int(rng.integers(across))
    row = y // down
    shifted = x + (row % 2) * (across // 2) if staggered else x
    shades = 1.0 + variation * rng.uniform(-1.0, 1.0, size=(int(row.max()) + 1, int(shifted.max()) // across + 1))
    face = _shaded(colour, shades[row, shifted // across])
    inside = (y % down >= gap) & (shifted % across >= gap)
    return np.where(inside[:, :, None], face, np.array(joint, dtype=np.float64))


def _brick(rng: np.random.Generator, width: int, height: int) -> Field:
    colour = _choose(rng, ((150, 84, 66), (168, 112, 84), (128, 98, 88), (176, 160, 142)))
    joint = _choose(rng, ((190, 182, 170), (120, 112, 106)))
    down = int(rng.integers(13, 20))
    return _tiled(
        rng, (width, height), (down * 5 // 2, down), colour=colour, joint=joint, gap=2, variation=0.12, staggered=True
    )


def _tiles(rng: np.random.Generator, width: int, height: int) -> Field:
    colour = _choose(rng, ((196, 210, 212), (206, 196, 176), (150, 176, 182), (178, 160, 146)))
    side = int(rng.integers(34, 56))
    return _tiled(
        rng, (width, height), (side, side), colour=colour, joint=(148, 146, 142), gap=2, variation=0.05, staggered=False
    )


def _plaster(rng: np.random.Generator, width: int, height: int) -> Field:
    colour = _choose(rng, ((214, 204, 186), (190, 198, 196), (206, 184, 160), (184, 178, 190), (170, 186, 168)))
    stains = value_noise(rng, width, height, cells=(6, 5)) * 7.0 + value_noise(rng, width, height, cells=(30, 22)) * 3.5
    return _plain(colour, width, height) + stains[:, :, None]


def _sky(rng: np.random.Generator, width: int, height: int) -> Field:
    zenith = _choose(rng, ((84, 136, 198), (108, 150, 196), (120, 140, 170)))
    horizon = _choose(rng, ((188, 212, 232), (214, 218, 222), (226, 210, 196)))
    down = np.tile(((np.arange(height) + 0.5) / height)[:, None], (1, width))
    picture = _mix(_plain(zenith, width, height), _plain(horizon, width, height), down)
    billows = value_noise(rng, width, height, cells=(5, 6)) + 0.5 * value_noise(rng, width, height, cells=(12, 14))
    return _mix(picture, _plain((240, 242, 244), width, height), (billows - 0.15) * 0.9)


def _wood(rng: np.random.Generator, width: int, height: int) -> Field:
    colour = _choose(rng, ((164, 120, 78), (136, 94, 62), (190, 152, 108), (112, 84, 66)))
    plank = int(rng.integers(44, 70))
    y = np.arange(height)[:, None]
    row = y // plank
    shade = 1.0 + 0.08 * rng.uniform(-1.0, 1.0, size=int(row.max()) + 1)[row]
    grain = value_noise(rng, width, height, cells=(3, height // 5)) * 0.08
    grain = grain + value_noise(rng, width, height, cells=(6, height // 2)) * 0.03
    picture = _shaded(colour, shade + grain)
    seam = (y % plank) < 2
    return np.where(seam[:, :, None], picture * 0.62, picture)


def _lawn(rng: np.random.Generator, width: int, height: int) -> Field:
    colour = _choose(rng, ((96, 138, 66), (112, 146, 84), (84, 122, 62), (140, 150, 88)))
    blades = np.rint(value_noise(rng, width, height, cells=(width // 4, height // 8)) * 1.8) * 8.0
    patches = np.rint(value_noise(rng, width, height, cells=(5, 4)) * 1.5) * 5.0
    stripe = ((np.arange(width) // int(rng.integers(40, 64))) % 2 * 8.0)[None, :]
    mown: Field = _plain(colour, width, height) + (blades + patches + stripe)[:, :, None] * np.array([0.9, 1.0, 0.6])
    return mown


def _sea(rng: np.random.Generator, width: int, height: int) -> Field:
    water = _choose(rng, ((52, 104, 138), (70, 124, 140), (60, 92, 120)))
    air = _choose(rng, ((190, 210, 226), (220, 214, 204), (176, 188, 198)))
    horizon = int(height * rng.uniform(0.22, 0.42))
    y = np.arange(height)
    near = np.clip((y - horizon) / max(height - horizon, 1), 0.0, 1.0)
    waves = value_noise(rng, width, height, cells=(14, height // 4)) * (4.0 + 14.0 * near)[:, None]
    picture = _plain(water, width, height) * (1.12 - 0.3 * near)[:, None, None] + waves[:, :, None]
    sky = _plain(air, width, height) + (value_noise(rng, width, height, cells=(4, 6)) * 6.0)[:, :, None]
    return np.where((y < horizon)[:, None, None], sky, picture)


def _board(rng: np.random.Generator, width: int, height: int) -> Field:
    slate = _choose(rng, ((54, 84, 70), (58, 62, 66), (44, 70, 84)))
    smears = value_noise(rng, width, height, cells=(4, 9)) * 8.0 + value_noise(rng, width, height, cells=(10, 30)) * 4.0
    picture = _plain(slate, width, height) + np.abs(smears)[:, :, None]
    frame = int(rng.integers(7, 12))
    edge = np.ones((height, width), dtype=bool)
    edge[frame : height - frame, frame : width - frame] = False
    return np.where(
        edge[:, :, None], np.array(_choose(rng, ((150, 112, 74), (176, 150, 116))), dtype=np.float64), picture
    )


def _cork(rng: np.random.Generator, width: int, height: int) -> Field:
    colour = _choose(rng, ((190, 148, 102), (176, 136, 96), (204, 168, 124)))
    crumbs = value_noise(rng, width, height, cells=(width // 4, height // 4))
    picture = _plain(colour, width, height) + (value_noise(rng, width, height, cells=(8, 6)) * 6.0)[:, :, None]
    return np.where((crumbs > 0.42)[:, :, None], picture * 0.86, picture)


def _fabric(rng: np.random.Generator, width: int, height: int) -> Field:
    colour = _choose(rng, ((128, 112, 134), (146, 128, 110), (108, 126, 134), (158, 138, 140), (112, 124, 108)))
    across, down = (int(rng.integers(16, 40)) for _ in range(2))
    y, x = np.mgrid[0:height, 0:width]
    checks = ((x // across) % 2) * 0.07 + ((y // down) % 2) * 0.07
    folds = value_noise(rng, width, height, cells=(5, 2)) * 0.08
    return _shaded(colour, 0.96 + checks + folds)


def _studio(rng: np.random.Generator, width: int, height: int) -> Field:
    colour = _choose(rng, ((150, 156, 166), (176, 166, 156), (120, 134, 150), (168, 150, 164), (140, 156, 144)), 16)
    centre = rng.uniform(0.3, 0.7, size=2)
    x = ((np.arange(width) + 0.5) / width - centre[0])[None, :]
    y = ((np.arange(height) + 0.5) / height - centre[1])[:, None]
    return _shaded(colour, 1.18 - 0.75 * np.sqrt(x * x + y * y))


def _concrete(rng: np.random.Generator, width: int, height: int) -> Field:
    colour = _choose(rng, ((158, 156, 152), (136, 138, 142), (176, 170, 162)))
    stains = value_noise(rng, width, height, cells=(7, 3)) * 8.0 + value_noise(rng, width, height, cells=(50, 38)) * 3.5
    picture = _plain(colour, width, height) + stains[:, :, None]
    seam = int(width * rng.uniform(0.2, 0.8))
    picture[:, seam : seam + 2] *= 0.75
    return picture


BACKGROUNDS: dict[str, Callable[[np.random.Generator, int, int], Field]] = {
    "brick wall": _brick,
    "tiled wall": _tiles,
    "plaster wall": _plaster,
    "concrete wall": _concrete,
    "cloudy sky": _sky,
    "wooden table": _wood,
    "lawn": _lawn,
    "sea": _sea,
    "classroom board": _board,
    "cork board": _cork,
    "fabric": _fabric,
    "studio backdrop": _studio,
}
"""Kind, in words that a question may use -> the function that paints it."""
