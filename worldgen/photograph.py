"""Turns flat drawings into something like a photograph: perspective, shadow, light, blur, noise, few colours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from mmsearch_env.records import Box, Pixels
from worldgen.backgrounds import Field, light_gradient

Rgba = npt.NDArray[np.uint8]
"""A picture with transparency, uint8 (height, width, 4)."""


def trim(picture: Image.Image) -> Image.Image:
    """Cut an RGBA drawing to what is visible of it."""
    box = visible_box(np.asarray(picture)[:, :, 3])
    return picture.crop((box.left, box.top, box.right, box.bottom))


def tilt(
    picture: Image.Image, rng: np.random.Generator, size: tuple[int, int], *, degrees: float, keystone: float
) -> Rgba:
    """Show a drawing from a slightly turned viewpoint, cut to what is visible.

    Args:
        picture: RGBA, transparent outside.
        rng: decides the turn.
        size: (width, height) in pixels that the drawing is scaled to before it is turned.
        degrees: the most that it is rotated, either way.
        keystone: the most that a far edge is shortened, as a share of its length.
    """
    width, height = size
    flat = picture.convert("RGBa").resize(size, Image.Resampling.LANCZOS)
    angle = float(np.deg2rad(rng.uniform(-degrees, degrees)))
    corners = np.array([[-width, -height], [width, -height], [width, height], [-width, height]], dtype=np.float64) / 2
    far, shrink = int(rng.integers(4)), keystone * float(rng.uniform(0.3, 1.0))
    for corner in (far, (far + 1) % 4):
        # These two share an edge: it gets shorter along itself and moves towards the middle, as a far edge does.
        corners[corner, far % 2] *= 1.0 - shrink
        corners[corner, 1 - far % 2] *= 1.0 - shrink / 2
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = corners @ turn
    margin = 3
    corners = corners - corners.min(axis=0) + margin
    span = np.ceil(corners.max(axis=0) + margin).astype(int)
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
    turned = flat.transform(
        (int(span[0]), int(span[1])),
        Image.Transform.PERSPECTIVE,
        _homography(corners, source),
        Image.Resampling.BICUBIC,
    )
    visible = np.asarray(turned.convert("RGBA"))
    box = visible_box(visible[:, :, 3])
    return np.ascontiguousarray(visible[box.top : box.bottom, box.left : box.right])


def _homography(target: Field, source: Field) -> tuple[float, ...]:
    """Return the eight coefficients that send four target points (4, 2) to four source points (4, 2)."""
    rows, values = [], []
    for (x, y), (u, v) in zip(target, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    solution = np.linalg.solve(np.array(rows), np.array(values))
    # Linear algebra libraries differ in the last bits, and a picture must not.
    return tuple(round(float(value), 9) for value in solution)


def visible_box(alpha: npt.NDArray[np.uint8]) -> Box:
    """Return the smallest box around what is at least half opaque in `alpha` (height, width).

    Raises:
        ValueError: if nothing is.
    """
    rows, columns = np.flatnonzero((alpha >= 128).any(axis=1)), np.flatnonzero((alpha >= 128).any(axis=0))
    if not len(rows):
        raise ValueError("Expected a drawing that can be seen, got one that is transparent throughout.")
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def lay(canvas: Field, item: Rgba, corner: tuple[int, int], rng: np.random.Generator, *, shadow: float) -> None:
    """Lay `item` on `canvas` (height, width, 3), in place, with a soft shadow and its own light.

    Args:
        canvas: the picture so far, in [0, 255].
        item: what to lay down; it must fit.
        corner: (left, top) in pixels.
        rng: decides light and the shadow's offset.
        shadow: how dark the shadow is, in [0, 1].
    """
    left, top = corner
    height, width = item.shape[:2]
    alpha = item[:, :, 3].astype(np.float64) / 255.0
    whole = Image.new("L", (canvas.shape[1], canvas.shape[0]))
    offset = rng.integers(1, 5, size=2)
    whole.paste(Image.fromarray(item[:, :, 3]), (left + int(offset[0]), top + int(offset[1])))
    soft = np.asarray(whole.filter(ImageFilter.GaussianBlur(3)), dtype=np.float64) / 255.0
    canvas *= (1.0 - shadow * soft)[:, :, None]
    light = light_gradient(rng, width, height, strength=float(rng.uniform(0.04, 0.2)))
    colour = np.clip(
        item[:, :, :3].astype(np.float64) * (light * float(rng.uniform(0.92, 1.04)))[:, :, None], 0.0, 255.0
    )
    part = canvas[top : top + height, left : left + width]
    part += (colour - part) * alpha[:, :, None]


def expose(canvas: Field, rng: np.random.Generator, *, blur: float, noise: float, colours: int) -> Pixels:
    """Take the photograph: a little blur and noise, and at most `colours` colours.

    Few colours keep a PNG small; they are chosen before the picture is named by its pixels, so nothing is lost later.

    Args:
        canvas: in [0, 255], float64 (height, width, 3).
        rng: decides the noise.
        blur: radius in pixels.
        noise: standard deviation, in the units of `canvas`.
        colours: size of the palette.

    Returns:
        RGB pixels, uint8 (height, width, 3).
    """
    sharp = Image.fromarray(np.rint(np.clip(canvas, 0.0, 255.0)).astype(np.uint8))
    soft = np.asarray(sharp.filter(ImageFilter.GaussianBlur(blur)), dtype=np.float64)
    grain = rng.normal(0.0, noise, size=soft.shape[:2])[:, :, None]
    noisy = Image.fromarray(np.rint(np.clip(soft + grain, 0.0, 255.0)).astype(np.uint8))
    return reduce_colours(noisy, colours)


def reduce_colours(picture: Image.Image, colours: int) -> Pixels:
    """Draw an RGB picture with at most `colours` colours, without dithering, uint8 (height, width, 3).

    The palette is a median cut over the colours by the square root of their frequency: a thin bright line keeps its
    colour beside a large dull wall.
    """
    pixels = np.asarray(picture, dtype=np.uint8)
    # Frequencies are taken in bins of 4 levels; each bin is represented by the mean of its pixels.
    bins = (pixels // 4).astype(np.int64) @ np.array([4096, 64, 1])
    _, inverse, counts = np.unique(bins, return_inverse=True, return_counts=True)
    sums = np.stack(
        [np.bincount(inverse.ravel(), weights=pixels[:, :, band].ravel()) for band in range(3)], axis=1
    )  # (bins, 3)
    means = np.rint(sums / counts[:, None]).astype(np.uint8)
    weighted = np.repeat(means, np.rint(np.sqrt(counts)).astype(np.int64), axis=0)
    palette = Image.fromarray(weighted[None, :, :]).quantize(colours, method=Image.Quantize.MEDIANCUT)
    few = picture.quantize(palette=palette, dither=Image.Dither.NONE)
    return np.asarray(few.convert("RGB"), dtype=np.uint8)
