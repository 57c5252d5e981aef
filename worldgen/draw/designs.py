"""Flag designs read from a table: what each is painted from, its flat picture and the facts that can be seen on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from mmsearch_env.errors import ConfigurationError, WorldError, unknown
from worldgen.draw.paint import paint, visible_colours

_TABLES = Path(__file__).parent.parent / "tables"
_MOST_POINTS = 8  # a star with more points looks like a sun


@dataclass(frozen=True)
class Design:
    """One flag as its table row gives it.

    Attributes:
        width: in the design's own units.
        height: in the design's own units.
        program: how it is painted (see `worldgen.draw.paint`).
        shape: of the cloth: `rectangle`, `swallowtail`, `pennant`, `triangle`, …
        layout: how the surface is divided, e.g. `vertical stripes`.
        stripes: how many stripes there are, 0 where the layout has none.
        stars: how many stars there are.
        symbol: what stands on it, or None.
    """

    width: float
    height: float
    program: str
    shape: str
    layout: str
    stripes: int
    stars: int
    symbol: str | None


@cache
def load_designs(name: str) -> Mapping[str, Design]:
    """Read the designs of the table `name`, by slug in sorted order.

    Raises:
        WorldError: a row lacks a field.
    """
    path = _TABLES / f"{name}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["flags"]
    designs = {}
    for slug in sorted(rows):
        row = rows[slug]
        try:
            width, height = row["size"]
            program, layout = row["paint"], row["layout"]
        except KeyError as error:
            raise WorldError(f"Expected {path.name} to give {error} for {slug!r}, but it does not. Add it.") from error
        designs[slug] = Design(
            width=width,
            height=height,
            program=program,
            shape=row.get("shape", "rectangle"),
            layout=layout,
            stripes=row.get("stripes", _count_bands(program)),
            stars=row.get("stars", _count_stars(program)),
            symbol=row.get("symbol"),
        )
    return designs


def find_design(designs: Mapping[str, Design], slug: str) -> Design:
    """Return the design of `slug`.

    Raises:
        ConfigurationError: there is none.
    """
    if slug not in designs:
        raise ConfigurationError(unknown("a slug", slug, designs))
    return designs[slug]


def flat_picture(design: Design, size: int) -> Image.Image:
    """Draw the flat design, RGBA, antialiased with 2×2 samples, its longest side `size` pixels."""
    return paint(design.program, width=design.width, height=design.height, pixels=2 * size).reduce(2)


def visible_facts(design: Design) -> dict[str, object]:
    """Say what can be seen on the flat design; colours come largest area first."""
    return {
        "colours": visible_colours(design.program, width=design.width, height=design.height),
        "layout": design.layout,
        "shape": design.shape,
        "stripes": design.stripes,
        "stars": design.stars,
        "symbol": design.symbol,
    }


def _count_bands(program: str) -> int:
    first = program.split(";")[0].split()
    return len(first) - 1 if first[0] in ("h", "v") else 0


def _count_stars(program: str) -> int:
    """Count the stars that a program draws one by one or in groups; one painted over another counts once."""
    places: set[tuple[str, ...]] = set()
    grouped = 0
    for words in (line.split() for line in program.split(";")):
        numbers = [word for word in words[1:] if not word[0].isalpha()]
        if words[0] == "star" and (len(numbers) < 4 or float(numbers[3]) <= _MOST_POINTS):
            places.add(tuple(numbers[:2]))
        elif words[0] == "stars":
            grouped += int(numbers[3])
        elif words[0] == "star-rows":
            grouped += 3 + 4 + 5
        elif words[0] == "star-grid":
            grouped += 50
    return len(places) + grouped
