"""Emission spectra of the elements: bright lines on a dark strip that always spans 380-750 nm, red to the right."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mmsearch_env import errors
from worldgen.draw import plates

DOMAIN = "spectra"
SCENE_STYLES: tuple[str, ...] = ("bench", "film")
WEB_STYLES: tuple[str, ...] = ("spectrograph", "textbook")

AXIS_NM = (380.0, 750.0)
MARGIN = 0.03  # of the plate's width, left and right of the axis

_TABLE = Path(__file__).parent.parent / "tables" / "spectral_lines.csv"
_ASPECT = 3.0
_LINE_WIDTH = 0.018  # of the plate's width
_RESOLUTION_NM = 8.0  # nearer lines look like one
_FAINTEST = 5.0  # intensity from which a line counts as visible

# What a screen shows for a wavelength: interpolated between these, violet and far red brighter than the eye sees them.
_ANCHORS_NM = (380, 410, 440, 465, 485, 500, 520, 555, 575, 590, 605, 625, 650, 700, 750)
_ANCHORS_RGB = (
    (130, 30, 190), (130, 20, 235), (60, 50, 255), (20, 120, 255), (0, 215, 255), (0, 245, 150), (30, 255, 40),
    (150, 255, 0), (225, 255, 0), (255, 220, 0), (255, 150, 0), (255, 70, 10), (255, 20, 20), (235, 0, 25),
    (190, 0, 30),
)  # fmt: skip
_COLOUR_NAMES = ((450, "violet"), (495, "blue"), (565, "green"), (592, "yellow"), (625, "orange"), (751, "red"))


@dataclass(frozen=True)
class Line:
    """A spectral line.

    Attributes:
        wavelength: in nanometres, in air.
        intensity: relative to the element's brightest line in the visible, in (0, 100].
    """

    wavelength: float
    intensity: float


def _read_lines() -> dict[str, tuple[Line, ...]]:
    elements: dict[str, list[Line]] = {}
    with _TABLE.open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            line = Line(wavelength=float(row["wavelength_nm"]), intensity=float(row["intensity"]))
            elements.setdefault(row["element"], []).append(line)
    return {slug: tuple(sorted(elements[slug], key=lambda line: line.wavelength)) for slug in sorted(elements)}


_ELEMENTS: Mapping[str, tuple[Line, ...]] = _read_lines()
SLUGS: tuple[str, ...] = tuple(_ELEMENTS)


def lines(slug: str) -> tuple[Line, ...]:
    """Returns an element's lines, by wavelength.

    Raises:
        ValueError: if there is no such element.
    """
    if slug not in _ELEMENTS:
        raise ValueError(errors.unknown("the element", slug, SLUGS))
    return _ELEMENTS[slug]


def position(wavelength: float) -> float:
    """Returns where a wavelength in nanometres lies on a plate, as a fraction of its width."""
    return MARGIN + (1 - 2 * MARGIN) * (wavelength - AXIS_NM[0]) / (AXIS_NM[1] - AXIS_NM[0])


def colour_name(wavelength: float) -> str:
    """Returns the everyday name of a wavelength's colour."""
    return next(name for limit, name in _COLOUR_NAMES if wavelength < limit)


def draw(slug: str, style: str, rng: np.random.Generator, size: int) -> Image.Image:
    """Draws an element's emission spectrum.

    Args:
        slug: one of `SLUGS`.
        style: one of `SCENE_STYLES` or `WEB_STYLES`.
        rng: draws the wear and the viewpoint.
        size: longest side, in pixels.

    Returns:
        RGBA, transparent outside the strip.

    Raises:
        ValueError: if the element or the style is unknown.
    """
    shown = lines(slug)
    if style not in _STYLES:
        raise ValueError(errors.unknown("the style", style, _STYLES))
    return _STYLES[style](shown, rng, size)


def describe(slug: str) -> dict[str, object]:
    """Returns what can be seen: how many `lines` stand apart, the `brightest_colour`, and all `colours` from violet on.

    Raises:
        ValueError: if there is no such element.
    """
    visible = [line for line in lines(slug) if line.intensity >= _FAINTEST]
    gaps = sum(b.wavelength - a.wavelength > _RESOLUTION_NM for a, b in itertools.pairwise(visible))
    brightest = max(visible, key=lambda line: line.intensity)
    seen = {colour_name(line.wavelength) for line in visible}
    return {
        "lines": 1 + gaps,
        "brightest_colour": colour_name(brightest.wavelength),
        "colours": tuple(name for _, name in _COLOUR_NAMES if name in seen),
    }


def _strip(shown: Sequence[Line], width: int, *, sharpness: float) -> NDArray[np.float64]:
    """Returns one row of a spectrum, (width, 3), levels in [0, 255].

    A line is a trapezoid in x: flat where it is bright, its flanks falling the faster the greater `sharpness`.
    """
    columns = (np.arange(width) + 0.5) / width
    row = np.zeros((width, 3))
    for line in shown:
        brightness = 0.22 + 0.78 * float(np.sqrt(line.intensity / 100))
        half = _LINE_WIDTH * (0.40 + 0.25 * brightness)
        profile = np.clip(1 + sharpness * (1 - np.abs(columns - position(line.wavelength)) / half), 0, 1)
        row = np.maximum(row, profile[:, None] * brightness * _rgb(line.wavelength)[None, :])
    return row


def _rgb(wavelength: float) -> NDArray[np.float64]:
    channels = np.array(_ANCHORS_RGB, dtype=np.float64).T
    return np.array([np.interp(wavelength, _ANCHORS_NM, channel) for channel in channels])


def _plate(row: NDArray[np.float64], height: int, ground: plates.Colour) -> Image.Image:
    levels = np.clip(np.rint(np.maximum(row, np.array(ground))), 0, 255).astype(np.uint8)
    return Image.fromarray(np.repeat(levels[None, :, :], height, axis=0))


def _film(shown: Sequence[Line], rng: np.random.Generator, size: int) -> Image.Image:
    width, height = plates.plate_size(_ASPECT, size)
    strip = _plate(_strip(shown, width, sharpness=2.0), height, (18, 14, 16))
    strip = plates.blotches(strip, rng, strength=0.14, cells=(6, 2))
    strip = plates.framed(strip, (104, 98, 88), thickness=0.009)
    return plates.tilt(strip, rng, degrees=2.0, slant=0.02, size=size)


def _bench(shown: Sequence[Line], rng: np.random.Generator, size: int) -> Image.Image:
    """A strip in a black slot of a metal instrument; the light spreads a little."""
    width, height = plates.plate_size(_ASPECT, size)
    strip = _plate(_strip(shown, width, sharpness=0.8), height, (8, 10, 16))
    strip = plates.glow(strip, radius=0.006 * width, strength=0.35)
    strip = plates.framed(strip, (74, 82, 92), thickness=0.018)
    strip = plates.blotches(strip, rng, strength=0.08, cells=(4, 2))
    return plates.tilt(plates.rounded(strip, radius=0.03), rng, degrees=2.5, slant=0.03, size=size)


def _textbook(shown: Sequence[Line], rng: np.random.Generator, size: int) -> Image.Image:
    """Crisp lines over a white scale with a mark every 50 nm."""
    width, height = plates.plate_size(_ASPECT, size)
    strip = _plate(_strip(shown, width, sharpness=6.0), height, (0, 0, 0))
    pen = ImageDraw.Draw(strip)
    scale = round(height * 0.9)
    pen.rectangle([0, scale, width, height], fill=(0, 0, 0))
    for wavelength in range(400, 751, 50):
        x = round(position(wavelength) * width)
        pen.line([(x, scale), (x, height)], fill=(170, 170, 170), width=plates.SUPERSAMPLE)
    pen.line([(0, scale), (width, scale)], fill=(170, 170, 170), width=plates.SUPERSAMPLE)
    return plates.tilt(strip, rng, degrees=0.5, slant=0.0, size=size)


def _spectrograph(shown: Sequence[Line], rng: np.random.Generator, size: int) -> Image.Image:
    """What a camera behind a grating sees: a faint bluish ground, soft lines that a slit cuts off above and below."""
    width, height = plates.plate_size(_ASPECT, size)
    strip = _plate(_strip(shown, width, sharpness=1.2), height, (12, 14, 26))
    slit = round(height * 0.06)
    pen = ImageDraw.Draw(strip)
    pen.rectangle([0, 0, width, slit], fill=(12, 14, 26))
    pen.rectangle([0, height - slit, width, height], fill=(12, 14, 26))
    strip = plates.glow(strip, radius=0.004 * width, strength=0.25)
    return plates.tilt(strip, rng, degrees=0.5, slant=0.01, size=size)


_STYLES: Mapping[str, Callable[[Sequence[Line], np.random.Generator, int], Image.Image]] = {
    "bench": _bench,
    "film": _film,
    "spectrograph": _spectrograph,
    "textbook": _textbook,
}
