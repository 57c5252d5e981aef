"""Star charts of constellations in several styles, drawn from star positions and magnitudes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw

from mmsearch_env import errors
from worldgen.draw import plates
from worldgen.draw.plates import Colour, Point
from worldgen.draw.star_charts import FIGURES, Chart, Star, chart

DOMAIN = "constellations"
SLUGS = FIGURES
SCENE_STYLES: tuple[str, ...] = ("poster", "slate")
WEB_STYLES: tuple[str, ...] = ("app", "atlas")

_OUTSHINES = 0.6  # magnitudes from which the eye is sure which of two stars is the brighter


def draw(slug: str, style: str, rng: np.random.Generator, size: int) -> Image.Image:
    """Draws a constellation's chart.

    Args:
        slug: one of `SLUGS`.
        style: one of `SCENE_STYLES` or `WEB_STYLES`.
        rng: draws the wear and the viewpoint.
        size: longest side, in pixels.

    Returns:
        RGBA, transparent outside the chart.

    Raises:
        ValueError: if the constellation or the style is unknown.
    """
    layout = chart(slug)
    if style not in _STYLES:
        raise ValueError(errors.unknown("the style", style, _STYLES))
    return _STYLES[style](layout, rng, size)


def describe(slug: str) -> dict[str, object]:
    """Returns what can be seen.

    `stars` and `lines` of the figure are counted; `brightest_star` names its quarter of the chart (`upper left`) and is
    there only where one star clearly outshines the others and lies clearly inside a quarter.

    Raises:
        ValueError: if there is no such constellation.
    """
    layout = chart(slug)
    facts: dict[str, object] = {"stars": len(layout.stars), "lines": len(layout.lines)}
    (brightest, (x, y)), (second, _) = layout.stars[:2]
    if second.magnitude - brightest.magnitude >= _OUTSHINES and min(abs(x - 0.5), abs(y - 0.5)) >= 0.1:
        facts["brightest_star"] = f"{'upper' if y < 0.5 else 'lower'} {'left' if x < 0.5 else 'right'}"
    return facts


def _poster(layout: Chart, rng: np.random.Generator, size: int) -> Image.Image:
    sheet = plates.gradient(plates.plate_size(layout.aspect, size), (22, 38, 84), (16, 26, 62))
    _strokes(sheet, layout, (184, 202, 236), 0.015)
    _discs(sheet, layout, lambda star: (246, 240, 218))
    sheet = plates.framed(sheet, (128, 128, 132), thickness=0.012)
    sheet = plates.folds(plates.blotches(sheet, rng, strength=0.12), rng, light=8)
    return plates.tilt(sheet, rng, degrees=3.5, slant=0.05, size=size)


def _slate(layout: Chart, rng: np.random.Generator, size: int) -> Image.Image:
    board = plates.blotches(
        Image.new("RGB", plates.plate_size(layout.aspect, size), (50, 56, 58)), rng, strength=0.18, cells=(3, 7)
    )
    longest = max(board.size)
    pen = ImageDraw.Draw(board)
    for start, end in layout.lines:
        for _ in range(3):  # a stick of chalk leaves several traces
            wobble = rng.uniform(-0.005, 0.005, size=4) * longest
            a, b = _pixels(start, board.size), _pixels(end, board.size)
            pen.line(
                [(a[0] + wobble[0], a[1] + wobble[1]), (b[0] + wobble[2], b[1] + wobble[3])],
                fill=(178, 182, 176),
                width=max(1, round(0.008 * longest)),
            )
    _discs(board, layout, lambda star: (236, 236, 226), scale=1.1)
    board = plates.framed(board, (124, 88, 52), thickness=0.026)
    return plates.tilt(board, rng, degrees=3.5, slant=0.05, size=size)


def _atlas(layout: Chart, rng: np.random.Generator, size: int) -> Image.Image:
    page = Image.new("RGB", plates.plate_size(layout.aspect, size), (6, 7, 12))
    pen = ImageDraw.Draw(page)
    for line in layout.grid:
        pen.line([_pixels(point, page.size) for point in line], fill=(32, 44, 60), width=plates.SUPERSAMPLE)
    for star, point in layout.field:
        x, y = _pixels(point, page.size)
        radius = 0.35 * _radius(star) * max(page.size)
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(120, 122, 128))
    _strokes(page, layout, (96, 160, 128), 0.013)
    _discs(page, layout, _tint)
    page = plates.framed(page, (150, 150, 150), thickness=0.006)
    return plates.tilt(page, rng, degrees=0.6, slant=0.0, size=size)


def _app(layout: Chart, rng: np.random.Generator, size: int) -> Image.Image:
    night = plates.gradient(plates.plate_size(layout.aspect, size), (12, 12, 40), (58, 34, 78))
    _strokes(night, layout, (86, 186, 220), 0.015)
    _discs(night, layout, lambda star: (255, 255, 255), scale=0.9)
    night = plates.glow(night, radius=0.012 * max(night.size), strength=0.45)
    card = plates.rounded(night, radius=0.06)
    return plates.tilt(card, rng, degrees=0.6, slant=0.01, size=size)


_STYLES: Mapping[str, Callable[[Chart, np.random.Generator, int], Image.Image]] = {
    "poster": _poster,
    "slate": _slate,
    "app": _app,
    "atlas": _atlas,
}


def _pixels(point: Point, size: tuple[int, int]) -> Point:
    return point[0] * size[0], point[1] * size[1]


def _strokes(image: Image.Image, layout: Chart, colour: Colour, width: float) -> None:
    pen = ImageDraw.Draw(image)
    for start, end in layout.lines:
        pen.line(
            [_pixels(start, image.size), _pixels(end, image.size)],
            fill=colour,
            width=max(plates.SUPERSAMPLE, round(width * max(image.size))),
        )


def _discs(image: Image.Image, layout: Chart, colour: Callable[[Star], Colour], *, scale: float = 1.0) -> None:
    pen = ImageDraw.Draw(image)
    for star, point in layout.stars:
        x, y = _pixels(point, image.size)
        radius = scale * _radius(star) * max(image.size)
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour(star))


def _radius(star: Star) -> float:
    """Returns a disc's radius as a fraction of the chart's longest side."""
    return min(0.029, max(0.011, 0.027 - 0.0036 * star.magnitude))


def _tint(star: Star) -> Colour:
    if star.colour_index < 0.1:
        return 190, 212, 255
    if star.colour_index < 0.8:
        return 255, 252, 240
    return (255, 222, 170) if star.colour_index < 1.3 else (255, 186, 130)
