"""Composes the pictures that questions are asked about: one to four things before a background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmsearch_env.records import Box, Pixels, pixel_digest
from worldgen.backgrounds import BACKGROUNDS, paint_background
from worldgen.layouts import LAYOUTS, Cell, refer
from worldgen.photograph import Rgba, expose, lay, tilt, trim
from worldgen.scene_records import Item, Scene
from worldgen.subjects import Subject, drawing_module, generator

SEED = 20_260
WIDTH, HEIGHT = 320, 240

SCENES = {"train": 400, "validation": 100, "test": 180, "ood": 80}
"""Split -> how many scenes it gets."""

CROWD = (0.30, 0.35, 0.20, 0.15)
"""The share of scenes with one, two, three and four things."""

COMPANIONS = {
    "flags": ("flags", "flags", "outlines", "signals"),
    "outlines": ("outlines", "flags", "flags", "constellations"),
    "signals": ("signals", "signals", "flags"),
    "constellations": ("constellations", "constellations", "outlines"),
    "spectra": ("spectra",),
}
"""Domain of a scene's first thing -> the domains that the others are drawn from, the likely ones repeated."""

SETTINGS = {
    "flags": tuple(BACKGROUNDS),
    "signals": ("sea", "sea", "cloudy sky", "wooden table", "concrete wall", "plaster wall", "fabric", "tiled wall"),
    "outlines": ("classroom board", "cork board", "wooden table", "plaster wall", "brick wall", "fabric"),
    "constellations": ("classroom board", "cork board", "wooden table", "studio backdrop", "plaster wall", "fabric"),
    "spectra": ("studio backdrop", "tiled wall", "concrete wall", "classroom board", "wooden table", "plaster wall"),
}
"""Domain of a scene's first thing -> the backgrounds that it would be seen before."""

_ROTATION = {"flags": 5.0, "signals": 5.0, "outlines": 3.0, "constellations": 4.0, "spectra": 3.0}
_LONG_SIDE = (92, 180)
_DRAWN = 200
_COLOURS = 64


@dataclass(frozen=True)
class Plan:
    """What a scene is to show, before it is drawn."""

    id: str
    split: str
    subjects: tuple[Subject, ...]
    background: str


class _Deck:
    """Deals subjects so that each comes up about equally often: shuffled anew for each round."""

    def __init__(self, subjects: Sequence[Subject], *names: str) -> None:
        self._subjects = sorted(subjects)
        self._names = names
        self._round = 0
        self._cards: list[Subject] = []

    def lead(self) -> Subject:
        """Return the next subject."""
        if not self._cards:
            self._shuffle()
        return self._cards.pop(0)

    def deal(self, taken: Sequence[Subject]) -> Subject | None:
        """Return the next subject whose entity is not yet taken, or None if all are."""
        for _ in range(2):
            for place, card in enumerate(self._cards):
                if all(card.entity != other.entity for other in taken):
                    return self._cards.pop(place)
            self._shuffle()
        return None

    def _shuffle(self) -> None:
        order = generator(SEED, "deck", *self._names, self._round).permutation(len(self._subjects))
        self._cards += [self._subjects[index] for index in order]
        self._round += 1


def plan_scenes(subjects: Sequence[Subject], counts: Mapping[str, int] = SCENES) -> list[Plan]:
    """Decide what each scene shows; every subject of a split comes up several times if there are scenes enough.

    Args:
        subjects: what can be drawn, with splits.
        counts: split -> how many scenes to plan.
    """
    plans = []
    for split, count in counts.items():
        pool = [subject for subject in subjects if subject.split == split]
        if not pool:
            continue
        first = _Deck(pool, split)
        domains = sorted({subject.domain for subject in pool})
        others = {
            domain: _Deck([subject for subject in pool if subject.domain == domain], split, domain)
            for domain in domains
        }
        for number in range(count):
            rng = generator(SEED, "plan", split, number)
            crowd = 1 + int(np.searchsorted(np.cumsum(CROWD), rng.random()))
            chosen = [first.lead()]
            allowed = [domain for domain in COMPANIONS[chosen[0].domain] if domain in others]
            while len(chosen) < min(crowd, 4) and allowed:
                companion = others[allowed[int(rng.integers(len(allowed)))]].deal(chosen)
                if companion is None:
                    break
                chosen.append(companion)
            settings = SETTINGS[chosen[0].domain]
            background = settings[int(rng.integers(len(settings)))]
            shuffled = tuple(chosen[index] for index in rng.permutation(len(chosen)))
            plans.append(Plan(f"{split}-{number:04d}", split, shuffled, background))
    return plans


def compose(plan: Plan) -> tuple[Scene, Pixels]:
    """Draw one scene.

    Returns:
        The scene with the boxes of its things, and its picture, uint8 (240, 320, 3).
    """
    rng = generator(SEED, "scene", plan.id, *(subject.entity + subject.domain for subject in plan.subjects))
    canvas = paint_background(plan.background, rng, WIDTH, HEIGHT)
    styles, drawings = [], []
    for subject in plan.subjects:
        module = drawing_module(subject.domain)
        styles.append(module.SCENE_STYLES[int(rng.integers(len(module.SCENE_STYLES)))])
        drawings.append(trim(module.draw(subject.slug, styles[-1], rng, _ALONE if len(plan.subjects) == 1 else _DRAWN)))
    cells = _choose_layout([drawing.width / drawing.height for drawing in drawings], rng)
    shadow = 0.0 if plan.background == "cloudy sky" else float(rng.uniform(0.2, 0.45))
    boxes = []
    for subject, drawing, cell in zip(plan.subjects, drawings, cells, strict=True):
        long_side = _longest(drawing.width / drawing.height, cell) * rng.uniform(0.82, 1.0)
        largest = _ALONE if len(cells) == 1 else _LONG_SIDE[1]
        scale = max(min(long_side, largest), _LONG_SIDE[0]) / max(drawing.size)
        size = (max(round(drawing.width * scale), 8), max(round(drawing.height * scale), 8))
        item = tilt(drawing, rng, size, degrees=_ROTATION[subject.domain], keystone=0.1)
        box = _place(item, cell, rng)
        lay(canvas, item, (box.left, box.top), rng, shadow=shadow)
        boxes.append(box)
    pixels = expose(
        canvas, rng, blur=float(rng.uniform(0.3, 0.7)), noise=float(rng.uniform(0.0, 0.5)), colours=_COLOURS
    )
    referring = refer([subject.domain for subject in plan.subjects], cells)
    items = tuple(
        Item(subject.entity, subject.domain, subject.slug, style, box, expressions[0], expressions)
        for subject, style, box, expressions in zip(plan.subjects, styles, boxes, referring, strict=True)
    )
    return Scene(plan.id, plan.split, items, plan.background, WIDTH, HEIGHT, pixel_digest(pixels)), pixels


def _longest(aspect: float, cell: Cell) -> float:
    """Return the long side in pixels of the largest thing of this aspect (width / height) that the cell takes."""
    # A turned thing needs a little more room than its own width and height.
    width, height = (cell.right - cell.left) * WIDTH * 0.92, (cell.bottom - cell.top) * HEIGHT * 0.92
    return min(width, height * aspect) if aspect >= 1 else min(height, width / aspect)


def _choose_layout(aspects: Sequence[float], rng: np.random.Generator) -> tuple[Cell, ...]:
    """Pick a layout in which the smallest thing is large enough, and not much smaller than in the roomiest one."""
    layouts = LAYOUTS[len(aspects)]
    room = [min(_longest(aspect, cell) for aspect, cell in zip(aspects, cells, strict=True)) for cells in layouts]
    wanted = min(max(_LONG_SIDE[0] * 1.02, 0.6 * max(room)), max(room))
    good = [cells for cells, longest in zip(layouts, room, strict=True) if longest >= wanted]
    return good[int(rng.integers(len(good)))]


def _place(item: Rgba, cell: Cell, rng: np.random.Generator) -> Box:
    """Put an item somewhere in its cell, inside the picture, and return its box."""
    height, width = item.shape[:2]
    corner = []
    for extent, low, high, whole in (
        (width, cell.left * WIDTH, cell.right * WIDTH, WIDTH),
        (height, cell.top * HEIGHT, cell.bottom * HEIGHT, HEIGHT),
    ):
        slack = high - low - extent
        start = low + slack / 2 + rng.uniform(-0.4, 0.4) * max(slack - 4, 0.0)
        corner.append(int(np.clip(round(start), 0, max(whole - extent, 0))))
    return Box(corner[0], corner[1], corner[0] + width, corner[1] + height)


_ALONE = 300
"""The longest side in pixels of a thing that is alone in its picture, as somebody would photograph it."""
