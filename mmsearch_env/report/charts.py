"""Small line charts as the paths and places of an SVG picture, which the page's template draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmsearch_env.report.noise import Estimate, smooth

WIDTH, HEIGHT = 360, 226
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 36
"""The picture's size and its margins, in the units of its view box."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: where, and what it says."""

    place: float
    label: str


@dataclass(frozen=True, slots=True)
class Series:
    """A curve: its name, its dots, the line through them, the band around it, and where it begins and ends."""

    name: str
    dots: tuple[tuple[float, float], ...]
    line: str
    band: str
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture with its title and what it shows."""

    title: str
    note: str
    horizontal: tuple[Tick, ...]
    vertical: tuple[Tick, ...]
    series: tuple[Series, ...]


def chart(
    title: str,
    curves: Mapping[str, Sequence[float]],
    *,
    note: str = "",
    window: int = 9,
    from_zero: bool = True,
    dots: bool = False,
) -> Chart:
    """Lay out curves over the numbers of updates, smoothed with `noise.smooth`.

    Args:
        title: above the picture.
        curves: name -> a figure per update, all of the same length, which is at least 1; a name may be empty.
        note: under the title.
        window: of the smoothing.
        from_zero: begin the vertical axis at 0; else where the figures do.
        dots: show the figures themselves as well, and the band of the interval.
    """
    means = {name: smooth(values, window) for name, values in curves.items()}
    shown = [value for values in curves.values() for value in values] if dots else []
    shown += [one.mean for estimates in means.values() for one in estimates]
    low, high, step = _axis(0.0 if from_zero else min(shown), max(shown))
    count = max(len(values) for values in curves.values())

    def across(update: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (update / (count - 1) if count > 1 else 0.5), 1)

    def up(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - share), 1)

    def drawn(name: str, values: Sequence[float], estimates: Sequence[Estimate]) -> Series:
        line = _path([(across(at), up(one.mean)) for at, one in enumerate(estimates)])
        above = [(across(at), up(one.high)) for at, one in enumerate(estimates)]
        below = [(across(at), up(one.low)) for at, one in enumerate(estimates)]
        return Series(
            name=name,
            dots=tuple((across(at), up(value)) for at, value in enumerate(values)) if dots else (),
            line=line,
            band=_path([*above, *reversed(below)]) + "Z" if dots else "",
            label=f"{estimates[0].mean:.{_digits(step) + 1}f} → {estimates[-1].mean:.{_digits(step) + 1}f}",
        )

    apart = _step(max(count - 1, 1), 4, whole=True)
    return Chart(
        title=title,
        note=note,
        horizontal=tuple(Tick(across(at), str(at + 1)) for at in range(0, count, int(apart))),
        vertical=tuple(
            Tick(up(low + number * step), f"{low + number * step:.{_digits(step)}f}")
            for number in range(round((high - low) / step) + 1)
        ),
        series=tuple(drawn(name, values, means[name]) for name, values in curves.items()),
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def _axis(low: float, high: float) -> tuple[float, float, float]:
    """Return where an axis begins and ends, and how far its marks are apart: 1, 2 or 5 times a power of ten."""
    if high - low < 1e-9:  # nothing to tell apart
        high = low + 0.1
    step = _step(high - low, 4)
    return math.floor(low / step) * step, math.ceil(high / step - 1e-9) * step, step


def _step(span: float, marks: int, *, whole: bool = False) -> float:
    power = 10.0 ** math.floor(math.log10(span / marks))
    step: float = next(factor * power for factor in (1, 2, 5, 10) if factor * power * marks >= span)
    return max(step, 1.0) if whole else step


def _digits(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))
