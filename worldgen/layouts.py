"""Where the things of a scene lie, and the words that tell one from the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

KINDS = {
    "flags": "flag",
    "signals": "signal flag",
    "constellations": "star chart",
    "spectra": "spectrum",
    "outlines": "map",
}
"""Domain -> what a person would call its pictures."""

Place = tuple[str, ...]
"""Phrases for one place; `{}` stands for the kind of thing that lies there."""

LEFT: Place = ("the {} on the left", "the left {}", "the leftmost {}")
RIGHT: Place = ("the {} on the right", "the right {}", "the rightmost {}")
MIDDLE: Place = ("the {} in the middle", "the middle {}", "the {} in the centre")
UPPER: Place = ("the {} at the top", "the upper {}", "the top {}")
LOWER: Place = ("the {} at the bottom", "the lower {}", "the bottom {}")
UPPER_LEFT: Place = ("the {} at the top left", "the upper left {}", "the top left {}")
UPPER_RIGHT: Place = ("the {} at the top right", "the upper right {}", "the top right {}")
LOWER_LEFT: Place = ("the {} at the bottom left", "the lower left {}", "the bottom left {}")
LOWER_RIGHT: Place = ("the {} at the bottom right", "the lower right {}", "the bottom right {}")


@dataclass(frozen=True)
class Cell:
    """The part of a picture that one thing may fill, as shares of its width and height, and its place in words."""

    left: float
    top: float
    right: float
    bottom: float
    place: Place


LAYOUTS: dict[int, tuple[tuple[Cell, ...], ...]] = {
    1: ((Cell(0.0, 0.0, 1.0, 1.0, MIDDLE),),),
    2: (
        (Cell(0.0, 0.05, 0.5, 0.95, LEFT), Cell(0.5, 0.05, 1.0, 0.95, RIGHT)),
        (Cell(0.1, 0.0, 0.9, 0.5, UPPER), Cell(0.1, 0.5, 0.9, 1.0, LOWER)),
        (Cell(0.0, 0.0, 0.5, 0.66, UPPER_LEFT + LEFT), Cell(0.5, 0.34, 1.0, 1.0, LOWER_RIGHT + RIGHT)),
        (Cell(0.5, 0.0, 1.0, 0.66, UPPER_RIGHT + RIGHT), Cell(0.0, 0.34, 0.5, 1.0, LOWER_LEFT + LEFT)),
    ),
    3: (
        (
            Cell(0.0, 0.1, 0.333, 0.9, LEFT),
            Cell(0.333, 0.1, 0.667, 0.9, MIDDLE),
            Cell(0.667, 0.1, 1.0, 0.9, RIGHT),
        ),
        (
            Cell(0.1, 0.0, 0.9, 0.333, UPPER),
            Cell(0.1, 0.333, 0.9, 0.667, MIDDLE),
            Cell(0.1, 0.667, 0.9, 1.0, LOWER),
        ),
        (
            Cell(0.0, 0.0, 0.5, 0.5, UPPER_LEFT),
            Cell(0.5, 0.0, 1.0, 0.5, UPPER_RIGHT),
            Cell(0.2, 0.5, 0.8, 1.0, LOWER),
        ),
        (
            Cell(0.2, 0.0, 0.8, 0.5, UPPER),
            Cell(0.0, 0.5, 0.5, 1.0, LOWER_LEFT),
            Cell(0.5, 0.5, 1.0, 1.0, LOWER_RIGHT),
        ),
        (
            Cell(0.0, 0.0, 0.5, 1.0, LEFT),
            Cell(0.5, 0.0, 1.0, 0.5, UPPER_RIGHT),
            Cell(0.5, 0.5, 1.0, 1.0, LOWER_RIGHT),
        ),
    ),
    4: (
        (
            Cell(0.0, 0.0, 0.5, 0.5, UPPER_LEFT),
            Cell(0.5, 0.0, 1.0, 0.5, UPPER_RIGHT),
            Cell(0.0, 0.5, 0.5, 1.0, LOWER_LEFT),
            Cell(0.5, 0.5, 1.0, 1.0, LOWER_RIGHT),
        ),
    ),
}
"""Number of things -> the ways to lay them out; the phrases of one layout never name two places."""


def refer(domains: Sequence[str], cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    """Return the referring expressions of each thing, the plainest that is unique in its scene first.

    Args:
        domains: what lies in each cell.
        cells: the cells of one layout, in the same order.
    """
    expressions = []
    for domain, cell in zip(domains, cells, strict=True):
        kind = KINDS[domain]
        placed = tuple(phrase.format(kind) for phrase in cell.place)
        if domains.count(domain) > 1:
            expressions.append(placed)
        elif domain == "flags" and "signals" in domains:
            # "the flag" could also be the signal flag.
            expressions.append(("the national flag", *placed))
        elif len(domains) == 1:
            expressions.append((f"the {kind}",))
        else:
            expressions.append((f"the {kind}", *placed))
    return expressions
