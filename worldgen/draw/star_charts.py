"""How constellations lie on the sky and on a chart: stars, figures and the projection, north up, east left."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mmsearch_env import errors
from worldgen.draw.plates import Point

_TABLES = Path(__file__).parent.parent / "tables"
_MARGIN = 0.14  # of the figure's longer side, on every side
_ASPECTS = (0.6, 1.7)  # a chart is never narrower or wider


@dataclass(frozen=True)
class Star:
    """A star of the table.

    Attributes:
        hip: number in the Hipparcos catalogue.
        name: proper name, may be empty.
        right_ascension: in degrees, J2000.
        declination: in degrees, J2000.
        magnitude: apparent, visual; smaller is brighter.
        colour_index: B-V; blue stars are negative, red ones above 1.
    """

    hip: int
    name: str
    right_ascension: float
    declination: float
    magnitude: float
    colour_index: float


@dataclass(frozen=True)
class Chart:
    """A constellation laid out in its frame: x to the right and y down, both in [0, 1].

    Attributes:
        aspect: width of the frame divided by its height.
        stars: the figure's stars with their positions, the brightest first.
        field: the other stars inside the frame.
        lines: the figure's strokes.
        grid: polylines of equal right ascension and of equal declination.
    """

    aspect: float
    stars: tuple[tuple[Star, Point], ...]
    field: tuple[tuple[Star, Point], ...]
    lines: tuple[tuple[Point, Point], ...]
    grid: tuple[tuple[Point, ...], ...]


def _read(name: str) -> list[dict[str, str]]:
    with (_TABLES / name).open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


def _read_stars() -> dict[int, Star]:
    stars = (
        Star(
            hip=int(row["hip"]),
            name=row["name"],
            right_ascension=float(row["right_ascension_degrees"]),
            declination=float(row["declination_degrees"]),
            magnitude=float(row["magnitude"]),
            colour_index=float(row["colour_index"]),
        )
        for row in _read("stars.csv")
    )
    return {star.hip: star for star in stars}


def _read_figures() -> dict[str, tuple[tuple[int, int], ...]]:
    figures: dict[str, list[tuple[int, int]]] = {}
    for row in _read("figures.csv"):
        figures.setdefault(row["constellation"], []).append((int(row["star_a"]), int(row["star_b"])))
    return {slug: tuple(figures[slug]) for slug in sorted(figures)}


_STARS: Mapping[int, Star] = _read_stars()
_FIGURES: Mapping[str, tuple[tuple[int, int], ...]] = _read_figures()
FIGURES: tuple[str, ...] = tuple(_FIGURES)


@cache
def chart(slug: str) -> Chart:
    """Lays a constellation out: stereographic projection about the middle of its figure, north up, east left.

    Raises:
        ValueError: if there is no such constellation.
    """
    if slug not in _FIGURES:
        raise ValueError(errors.unknown("the constellation", slug, FIGURES))
    strokes = _FIGURES[slug]
    members = sorted({hip for stroke in strokes for hip in stroke}, key=lambda hip: (_STARS[hip].magnitude, hip))
    centre = _middle([_STARS[hip] for hip in members])
    flat = {hip: _project(_STARS[hip].right_ascension, _STARS[hip].declination, centre) for hip in _STARS}
    figure = [point for hip in members if (point := flat[hip]) is not None]
    place, aspect = _frame(figure)

    def placed(hip: int) -> Point:
        point = flat[hip]
        return place(point) if point is not None else (math.inf, math.inf)

    field = ((_STARS[hip], placed(hip)) for hip in sorted(_STARS) if hip not in members)
    return Chart(
        aspect=aspect,
        stars=tuple((_STARS[hip], placed(hip)) for hip in members),
        field=tuple((star, point) for star, point in field if 0 < point[0] < 1 and 0 < point[1] < 1),
        lines=tuple((placed(a), placed(b)) for a, b in strokes),
        grid=tuple(tuple(place(point) for point in line) for line in _graticule(centre)),
    )


def _middle(stars: Sequence[Star]) -> tuple[float, float]:
    """Returns right ascension and declination of the mean direction, in degrees."""
    x = y = z = 0.0
    for star in stars:
        longitude, latitude = math.radians(star.right_ascension), math.radians(star.declination)
        x += math.cos(latitude) * math.cos(longitude)
        y += math.cos(latitude) * math.sin(longitude)
        z += math.sin(latitude)
    return math.degrees(math.atan2(y, x)) % 360, math.degrees(math.atan2(z, math.hypot(x, y)))


def _project(right_ascension: float, declination: float, centre: tuple[float, float]) -> Point | None:
    """Returns x to the right (west) and y down (south), or None in the far half of the sky."""
    hour = math.radians(right_ascension - centre[0])
    latitude, middle = math.radians(declination), math.radians(centre[1])
    cosine = math.sin(middle) * math.sin(latitude) + math.cos(middle) * math.cos(latitude) * math.cos(hour)
    if cosine < 0.2:
        return None
    east = math.cos(latitude) * math.sin(hour)
    north = math.cos(middle) * math.sin(latitude) - math.sin(middle) * math.cos(latitude) * math.cos(hour)
    return -2 * east / (1 + cosine), -2 * north / (1 + cosine)


def _frame(figure: Sequence[Point]) -> tuple[Callable[[Point], Point], float]:
    """Returns the map from the projection to the frame, and the frame's aspect."""
    left, right = min(x for x, _ in figure), max(x for x, _ in figure)
    top, bottom = min(y for _, y in figure), max(y for _, y in figure)
    margin = 2 * _MARGIN * max(right - left, bottom - top)
    width, height = right - left + margin, bottom - top + margin
    width, height = max(width, height * _ASPECTS[0]), max(height, width / _ASPECTS[1])
    left, top = (left + right - width) / 2, (top + bottom - height) / 2
    return lambda point: ((point[0] - left) / width, (point[1] - top) / height), width / height


def _graticule(centre: tuple[float, float]) -> list[list[Point]]:
    meridians = [[(float(hour), step * 2.5 - 87.5) for step in range(71)] for hour in range(0, 360, 15)]
    parallels = [[(step * 2.5, float(declination)) for step in range(145)] for declination in range(-80, 81, 10)]
    lines: list[list[Point]] = []
    for line in meridians + parallels:
        run: list[Point] = []
        for position in line:
            point = _project(*position, centre)
            if point is not None:
                run.append(point)
            elif run:
                lines.append(run)
                run = []
        lines.append(run)
    return [line for line in lines if len(line) > 1]
