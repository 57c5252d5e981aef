"""Rectangular plates that the figure domains draw on: their light, wear, frame and tilt.

Everything is drawn at `SUPERSAMPLE` times its final size and reduced by `tilt`, which is where edges get smooth. Only
`math` and exact NumPy operations decide positions, so that the pixels are the same on every machine.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]
Matrix = tuple[tuple[float, float, float], ...]

SUPERSAMPLE = 2


def plate_size(aspect: float, size: int) -> tuple[int, int]:
    """Returns the supersampled (width, height) of a plate whose longest side will be `size` pixels.

    Args:
        aspect: width divided by height.
        size: longest side of the finished picture, in pixels.
    """
    longest = SUPERSAMPLE * size
    if aspect >= 1:
        return longest, max(8, round(longest / aspect))
    return max(8, round(longest * aspect)), longest


def gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    """Returns an RGB plate that passes from `top` to `bottom`."""
    ramp = np.linspace(0.0, 1.0, size[1])[:, None]
    rows = np.rint(np.array(top) * (1 - ramp) + np.array(bottom) * ramp).astype(np.uint8)
    return Image.fromarray(np.repeat(rows[:, None, :], size[0], axis=1))


def blotches(
    image: Image.Image, rng: np.random.Generator, *, strength: float, cells: tuple[int, int] = (5, 5)
) -> Image.Image:
    """Darkens and brightens `image` in large soft patches, as age and uneven light do.

    Args:
        image: RGB.
        rng: draws the patches.
        strength: largest change of brightness, in [0, 1].
        cells: how many patches across and down.
    """
    patches = rng.integers(0, 256, size=(cells[1], cells[0]), dtype=np.uint8)
    field = np.asarray(Image.fromarray(patches).resize(image.size, Image.Resampling.BICUBIC), dtype=np.float64)
    gain = 1 + strength * (field / 127.5 - 1)
    return Image.fromarray(np.clip(np.rint(np.asarray(image) * gain[:, :, None]), 0, 255).astype(np.uint8))


def folds(image: Image.Image, rng: np.random.Generator, *, light: int) -> Image.Image:
    """Adds one crease across and one down, `light` levels brighter than the sheet."""
    width, height = image.size
    crease = Image.new("L", image.size, 0)
    pen = ImageDraw.Draw(crease)
    column = round(width * rng.uniform(0.42, 0.58))
    row = round(height * rng.uniform(0.42, 0.58))
    pen.line([(column, 0), (column, height)], fill=light, width=SUPERSAMPLE)
    pen.line([(0, row), (width, row)], fill=light, width=SUPERSAMPLE)
    return ImageChops.add(image, Image.merge("RGB", [crease] * 3))


def glow(image: Image.Image, *, radius: float, strength: float) -> Image.Image:
    """Adds a blurred copy of the RGB `image` to itself, as light scattered in a lens."""
    halo = image.filter(ImageFilter.GaussianBlur(radius)).point(lambda level: level * strength)
    return ImageChops.add(image, halo)


def framed(image: Image.Image, colour: Colour, *, thickness: float) -> Image.Image:
    """Draws a frame onto the border of `image`, `thickness` being a fraction of its longest side."""
    width, height = image.size
    ImageDraw.Draw(image).rectangle(
        [0, 0, width - 1, height - 1], outline=colour, width=max(SUPERSAMPLE, round(thickness * max(width, height)))
    )
    return image


def rounded(image: Image.Image, *, radius: float) -> Image.Image:
    """Returns `image` as RGBA with round corners, `radius` being a fraction of its longest side."""
    mask = Image.new("L", image.size, 0)
    width, height = image.size
    ImageDraw.Draw(mask).rounded_rectangle([0, 0, width - 1, height - 1], round(radius * max(width, height)), fill=255)
    cut = image.convert("RGBA")
    cut.putalpha(mask)
    return cut


def tilt(image: Image.Image, rng: np.random.Generator, *, degrees: float, slant: float, size: int) -> Image.Image:
    """Turns a plate a little, sees it a little from the side, and reduces it to its final size.

    Args:
        image: RGB or RGBA, supersampled.
        rng: draws the turn and the slant.
        degrees: largest turn to either side.
        slant: largest relative shortening of a far edge.
        size: longest side of the result, in pixels.

    Returns:
        RGBA, transparent outside the plate.
    """
    angle = math.radians(rng.uniform(-degrees, degrees))
    across, down = rng.uniform(-slant, slant), rng.uniform(-slant, slant)
    width, height = image.size
    turned = _homography(angle, across / width, down / height)
    corners = [_apply(turned, (x, y)) for x in (-width / 2, width / 2) for y in (-height / 2, height / 2)]
    left, right = min(x for x, _ in corners), max(x for x, _ in corners)
    top, bottom = min(y for _, y in corners), max(y for _, y in corners)
    scale = SUPERSAMPLE * size / max(right - left, bottom - top)
    out = (
        SUPERSAMPLE * max(1, round((right - left) * scale / SUPERSAMPLE)),
        SUPERSAMPLE * max(1, round((bottom - top) * scale / SUPERSAMPLE)),
    )
    to_canvas: Matrix = ((scale, 0.0, -left * scale), (0.0, scale, -top * scale), (0.0, 0.0, 1.0))
    to_centre: Matrix = ((1.0, 0.0, -width / 2), (0.0, 1.0, -height / 2), (0.0, 0.0, 1.0))
    back = _inverse(_product(to_canvas, _product(turned, to_centre)))
    coefficients = [entry / back[2][2] for row in back for entry in row][:8]
    seen = image.convert("RGBA").transform(
        out, Image.Transform.PERSPECTIVE, coefficients, resample=Image.Resampling.BILINEAR, fillcolor=(0, 0, 0, 0)
    )
    return seen.reduce(SUPERSAMPLE)


def _homography(angle: float, across: float, down: float) -> Matrix:
    cosine, sine = math.cos(angle), math.sin(angle)
    return ((cosine, -sine, 0.0), (sine, cosine, 0.0), (across, down, 1.0))


def _apply(matrix: Matrix, point: Point) -> Point:
    x, y, depth = (row[0] * point[0] + row[1] * point[1] + row[2] for row in matrix)
    return x / depth, y / depth


def _product(first: Matrix, second: Matrix) -> Matrix:
    return tuple(
        (
            row[0] * second[0][0] + row[1] * second[1][0] + row[2] * second[2][0],
            row[0] * second[0][1] + row[1] * second[1][1] + row[2] * second[2][1],
            row[0] * second[0][2] + row[1] * second[1][2] + row[2] * second[2][2],
        )
        for row in first
    )


def _inverse(matrix: Matrix) -> Matrix:
    """Returns the inverse up to scale (the adjugate), which is all that a homography needs."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    return (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
