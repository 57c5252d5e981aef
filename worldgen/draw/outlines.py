"""Cut-outs of countries on a map, drawn from their geometry: light land on a darker ground, north up."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from mmsearch_env import errors
from worldgen.draw import plates
from worldgen.draw.plates import Colour, Point

DOMAIN = "outlines"
SCENE_STYLES: tuple[str, ...] = ("cutout", "parchment")
WEB_STYLES: tuple[str, ...] = ("blueprint", "relief")

_TABLE = Path(__file__).parent.parent / "tables" / "outlines.json"
_MARGIN = 0.08  # of the country's longer side, on every side
_ASPECTS = (0.5, 2.0)  # a map is never narrower or wider


@dataclass(frozen=True)
class Outline:
    """A country laid out in its frame: x to the right and y down, both in [0, 1].

    Attributes:
        aspect: width of the frame divided by its height.
        parts: landmasses, each a shore and then its holes, the largest landmass first.
        width: of the country in degrees of latitude, east to west.
        height: of the country in degrees of latitude, north to south.
    """

    aspect: float
    parts: tuple[tuple[tuple[Point, ...], ...], ...]
    width: float
    height: float


_Parts = list[list[list[tuple[float, float]]]]


def _read_parts() -> dict[str, _Parts]:
    table = json.loads(_TABLE.read_text(encoding="utf-8"))
    return {slug: table[slug]["parts"] for slug in sorted(table)}


_PARTS: Mapping[str, _Parts] = _read_parts()
SLUGS: tuple[str, ...] = tuple(_PARTS)


@cache
def outline(slug: str) -> Outline:
    """Lays a country out: equirectangular projection, true to scale at the country's middle latitude.

    Raises:
        ValueError: if there is no such country.
    """
    if slug not in _PARTS:
        raise ValueError(errors.unknown("the country", slug, SLUGS))
    parts = _PARTS[slug]
    latitudes = [latitude for part in parts for ring in part for _, latitude in ring]
    longitudes = [longitude for part in parts for ring in part for longitude, _ in ring]
    narrowing = math.cos(math.radians((min(latitudes) + max(latitudes)) / 2))
    west, north = min(longitudes) * narrowing, max(latitudes)
    land_width, land_height = max(longitudes) * narrowing - west, north - min(latitudes)
    margin = 2 * _MARGIN * max(land_width, land_height)
    width, height = land_width + margin, land_height + margin
    width, height = max(width, height * _ASPECTS[0]), max(height, width / _ASPECTS[1])
    left, top = west - (width - land_width) / 2, north + (height - land_height) / 2

    def place(position: tuple[float, float]) -> Point:
        return (position[0] * narrowing - left) / width, (top - position[1]) / height

    return Outline(
        aspect=width / height,
        parts=tuple(tuple(tuple(place(position) for position in ring) for ring in part) for part in parts),
        width=land_width,
        height=land_height,
    )


def draw(slug: str, style: str, rng: np.random.Generator, size: int) -> Image.Image:
    """Draws a country's outline.

    Args:
        slug: one of `SLUGS`.
        style: one of `SCENE_STYLES` or `WEB_STYLES`.
        rng: draws the wear and the viewpoint.
        size: longest side, in pixels.

    Returns:
        RGBA, transparent outside the map.

    Raises:
        ValueError: if the country or the style is unknown.
    """
    country = outline(slug)
    if style not in _STYLES:
        raise ValueError(errors.unknown("the style", style, _STYLES))
    return _STYLES[style](country, rng, size)


@cache
def _shape(slug: str) -> str:
    country = outline(slug)
    points = [(x * country.aspect, y) for part in country.parts for x, y in part[0]]
    if _elongation(points) >= 2.6:
        return "long and thin"
    if country.height >= 1.15 * country.width:
        return "taller than wide"
    return "wider than tall" if country.width >= 1.15 * country.height else "about as wide as tall"


def describe(slug: str) -> dict[str, object]:
    """Returns what can be seen: the `shape`, whether there are `islands` (or several parts), and a `hole`.

    Raises:
        ValueError: if there is no such country.
    """
    parts = outline(slug).parts
    return {"shape": _shape(slug), "islands": len(parts) > 1, "hole": any(len(part) > 1 for part in parts)}


def _elongation(points: Sequence[Point]) -> float:
    """Returns length by width of the narrowest rectangle, at any turn, that holds the points."""
    best = math.inf, 1.0
    for degrees in range(0, 180, 3):
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        along = [x * cosine + y * sine for x, y in points]
        beside = [y * cosine - x * sine for x, y in points]
        length, width = max(along) - min(along), max(beside) - min(beside)
        best = min(best, (width, length / width))
    return best[1]


def _parchment(country: Outline, rng: np.random.Generator, size: int) -> Image.Image:
    sheet, land = _base(country, size, (74, 104, 104), (62, 92, 96))
    sheet.paste(plates.gradient(sheet.size, (238, 224, 184), (226, 206, 160)), mask=land)
    _coast(sheet, country, (112, 78, 44), 0.010)
    sheet = plates.framed(sheet, (150, 118, 72), thickness=0.014)
    sheet = plates.folds(plates.blotches(sheet, rng, strength=0.12), rng, light=16)
    return plates.tilt(sheet, rng, degrees=3.5, slant=0.05, size=size)


def _cutout(country: Outline, rng: np.random.Generator, size: int) -> Image.Image:
    board, land = _base(country, size, (70, 46, 34), (60, 38, 28))
    pen = ImageDraw.Draw(board)
    for row in sorted(int(row) for row in rng.integers(0, board.height, size=7)):  # the grain of the board
        pen.line([(0, row), (board.width, row)], fill=(78, 54, 40), width=plates.SUPERSAMPLE)
    longest = max(board.size)
    shade = land.filter(ImageFilter.GaussianBlur(0.008 * longest)).point(lambda level: level * 0.6)
    offset = max(1, round(0.012 * longest))
    shadow = Image.new("L", board.size, 0)
    shadow.paste(shade, (offset, offset))
    board.paste((18, 10, 6), mask=shadow)
    board.paste(plates.gradient(board.size, (232, 190, 126), (208, 160, 98)), mask=land)
    board = plates.blotches(board, rng, strength=0.10, cells=(2, 9))
    return plates.tilt(plates.rounded(board, radius=0.03), rng, degrees=3.5, slant=0.05, size=size)


def _relief(country: Outline, rng: np.random.Generator, size: int) -> Image.Image:
    chart, land = _base(country, size, (34, 72, 124), (26, 58, 108))
    ground = plates.blotches(
        plates.gradient(chart.size, (176, 204, 136), (202, 196, 134)), rng, strength=0.10, cells=(6, 6)
    )
    chart.paste(ground, mask=land)
    _coast(chart, country, (226, 238, 236), 0.006)
    chart = plates.framed(chart, (230, 230, 230), thickness=0.008)
    return plates.tilt(chart, rng, degrees=0.6, slant=0.0, size=size)


def _blueprint(country: Outline, rng: np.random.Generator, size: int) -> Image.Image:
    print_, land = _base(country, size, (22, 44, 92), (22, 44, 92))
    pen = ImageDraw.Draw(print_)
    step = max(8, max(print_.size) // 12)
    phase = int(rng.integers(0, step))
    for column in range(phase, print_.width, step):
        pen.line([(column, 0), (column, print_.height)], fill=(40, 66, 120), width=plates.SUPERSAMPLE)
    for row in range(phase, print_.height, step):
        pen.line([(0, row), (print_.width, row)], fill=(40, 66, 120), width=plates.SUPERSAMPLE)
    print_.paste((206, 220, 240), mask=land)
    _coast(print_, country, (255, 255, 255), 0.008)
    return plates.tilt(print_, rng, degrees=0.6, slant=0.01, size=size)


_STYLES: Mapping[str, Callable[[Outline, np.random.Generator, int], Image.Image]] = {
    "cutout": _cutout,
    "parchment": _parchment,
    "blueprint": _blueprint,
    "relief": _relief,
}


def _base(country: Outline, size: int, top: Colour, bottom: Colour) -> tuple[Image.Image, Image.Image]:
    """Returns the empty ground (RGB) and the mask of the land (L)."""
    ground = plates.gradient(plates.plate_size(country.aspect, size), top, bottom)
    land = Image.new("L", ground.size, 0)
    for part in country.parts:
        shape = Image.new("L", ground.size, 0)
        pen = ImageDraw.Draw(shape)
        pen.polygon(_pixels(part[0], ground.size), fill=255)
        for hole in part[1:]:
            pen.polygon(_pixels(hole, ground.size), fill=0)
        land = ImageChops.lighter(land, shape)
    return ground, land


def _coast(image: Image.Image, country: Outline, colour: Colour, width: float) -> None:
    pen = ImageDraw.Draw(image)
    for part in country.parts:
        for ring in part:
            points = _pixels(ring, image.size)
            pen.line([*points, points[0]], fill=colour, width=max(1, round(width * max(image.size))), joint="curve")


def _pixels(ring: Sequence[Point], size: tuple[int, int]) -> list[Point]:
    return [(x * size[0], y * size[1]) for x, y in ring]
