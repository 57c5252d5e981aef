"""Writes the questions that need no search: what the picture itself shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from mmsearch_env.records import Task
from worldgen.knowledge.prose import choose
from worldgen.layouts import KINDS
from worldgen.scene_records import Item, Scene

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_PLURALS = {
    "flags": "national flags",
    "signals": "signal flags",
    "constellations": "star charts",
    "spectra": "spectra",
    "outlines": "maps",
}
_COLOURS = ("red", "green", "blue", "yellow", "black", "white", "orange")
_MOST_LINES = 6
_MOST_STARS = 8


@dataclass(frozen=True)
class Seen:
    """A question about what is seen, its form, and its answers."""

    form: str
    question: str
    answers: tuple[str, ...]


Asker = Callable[[Scene, Item, np.random.Generator], Seen | None]


def perception_tasks(scene: Scene, *, count: int, rng: np.random.Generator) -> list[Task]:
    """Write `count` questions about a scene, each of another form."""
    tasks: list[Task] = []
    forms: set[str] = set()
    for _ in range(40):
        if len(tasks) == count:
            break
        item = choose(scene.items, rng)
        seen = choose(_ASKERS, rng)(scene, item, rng)
        if seen is not None and seen.form not in forms:
            forms.add(seen.form)
            tasks.append(_task(scene, item, seen, len(tasks) + 1))
    return tasks


def _task(scene: Scene, item: Item, seen: Seen, number: int) -> Task:
    return Task(
        id=f"{scene.id}/look-{number}",
        image=scene.image,
        question=seen.question,
        answers=seen.answers,
        needs_search=False,
        category="perception",
        domain=item.domain,
        split=scene.split,
        expression=item.expression,
        boxes={expression: other.box for other in scene.items for expression in other.expressions},
        entities=tuple(dict.fromkeys(other.entity for other in scene.items)),
        metadata={"form": f"perception/{seen.form}", "hops": 0, "entity": item.entity},
    )


def _described(item: Item) -> Mapping[str, Any]:
    described: Mapping[str, Any] = import_module(f"worldgen.draw.{item.domain}").describe(item.slug)
    return described


def _too_common(rng: np.random.Generator) -> bool:
    """Say whether to pass over a question whose answer is the commonest one of its form, so that none prevails."""
    return bool(rng.random() < 0.5)


def _number(count: int) -> tuple[str, ...]:
    return (str(count), _NUMBERS[count]) if count < len(_NUMBERS) else (str(count),)


def _yes(truth: bool) -> tuple[str, ...]:
    return ("yes",) if truth else ("no",)


def _count_kind(scene: Scene, item: Item, rng: np.random.Generator) -> Seen | None:
    count = sum(other.domain == item.domain for other in scene.items)
    if count == 1 and _too_common(rng):
        return None
    question = choose(
        ("How many {} are in the picture?", "Count the {} in this picture.", "How many {} do you see?"), rng
    )
    return Seen(f"count-{item.domain}", question.format(_PLURALS[item.domain]), _number(count))


def _count_all(scene: Scene, item: Item, rng: np.random.Generator) -> Seen:
    questions = (
        "How many things are shown in front of the background?",
        "How many objects does the picture show in all?",
        "Flags, maps, charts and the like taken together: how many are there?",
    )
    return Seen("count-all", choose(questions, rng), _number(len(scene.items)))


def _is_there(scene: Scene, item: Item, rng: np.random.Generator) -> Seen:
    shown = sorted({other.domain for other in scene.items})
    absent = sorted(set(KINDS) - set(shown) - ({"flags"} if "signals" in shown else set()))
    truth = bool(rng.random() < 0.5)
    kind = KINDS[choose(shown if truth else absent, rng)]
    question = choose(("Is there a {} in the picture?", "Does the picture show a {}?", "Can a {} be seen here?"), rng)
    return Seen("is-there", question.format(kind), _yes(truth))


def _side(scene: Scene, item: Item, rng: np.random.Generator) -> Seen | None:
    alone = sum(other.domain == item.domain for other in scene.items) == 1
    centre = (item.box.left + item.box.right) / 2 / scene.width
    if len(scene.items) < 2 or not alone or 0.4 < centre < 0.6:
        return None
    question = choose(
        ("On which side of the picture is the {}, left or right?", "Is the {} on the left or the right?"), rng
    )
    return Seen("side", question.format(KINDS[item.domain]), ("left",) if centre < 0.5 else ("right",))


def _larger(scene: Scene, item: Item, rng: np.random.Generator) -> Seen | None:
    others = [other for other in scene.items if other.expression != item.expression]
    if not others:
        return None
    other = choose(others, rng)
    areas = sorted((item.box.area, other.box.area))
    if areas[1] < 1.4 * areas[0]:
        return None
    winner = item if item.box.area > other.box.area else other
    question = f"Which takes up more room in the picture, {item.expression} or {other.expression}?"
    return Seen("larger", question, (winner.expression,))


def _background(scene: Scene, item: Item, rng: np.random.Generator) -> Seen:
    from worldgen.backgrounds import BACKGROUNDS

    other = choose([name for name in sorted(BACKGROUNDS) if name != scene.background], rng)
    options = [scene.background, other] if rng.random() < 0.5 else [other, scene.background]
    question = choose(("What is in the background: {} or {}?", "Which do you see behind the objects, {} or {}?"), rng)
    return Seen("background", question.format(*options), (scene.background,))


def _colour(scene: Scene, item: Item, rng: np.random.Generator) -> Seen | None:
    if item.domain not in ("flags", "signals"):
        return None
    shown = [colour for colour in _described(item)["colours"] if colour in _COLOURS]
    absent = [colour for colour in _COLOURS if colour not in _described(item)["colours"]]
    if "orange" in shown or "yellow" in shown or "red" in shown:
        # Orange is too near to both of its neighbours to be offered beside them.
        absent = [colour for colour in absent if colour not in ("orange", "yellow", "red")]
    if not shown or not absent:
        return None
    right, wrong = choose(shown, rng), choose(absent, rng)
    options = (right, wrong) if rng.random() < 0.5 else (wrong, right)
    question = choose(("Which colour is part of {}: {} or {}?", "Which of two colours does {} have, {} or {}?"), rng)
    return Seen("colour", question.format(item.expression, *options), (right,))


def _stripes(scene: Scene, item: Item, rng: np.random.Generator) -> Seen | None:
    described = _described(item) if item.domain in ("flags", "signals") else {}
    layout = described.get("layout", "")
    if layout not in ("horizontal stripes", "vertical stripes") or not 2 <= described["stripes"] <= 5:
        return None
    if rng.random() < 0.5:
        if described["stripes"] == 3 and _too_common(rng):
            return None
        return Seen("stripes", f"How many stripes does {item.expression} have?", _number(described["stripes"]))
    if layout == "horizontal stripes" and _too_common(rng):
        return None
    question = f"Do the stripes of {item.expression} run horizontally or vertically?"
    word = "horizontal" if layout.startswith("horizontal") else "vertical"
    return Seen("stripe-direction", question, (f"{word}ly", word))


def _star(scene: Scene, item: Item, rng: np.random.Generator) -> Seen | None:
    if item.domain != "flags":
        return None
    described = _described(item)
    if described["stars"] == 0 and _too_common(rng):
        return None
    question = choose(("Is there a star on {}?", "Does {} carry a star?"), rng)
    return Seen("star", question.format(item.expression), _yes(described["stars"] > 0))


def _shape(scene: Scene, item: Item, rng: np.random.Generator) -> Seen | None:
    shape = _described(item).get("shape") if item.domain == "outlines" else None
    if shape not in ("taller than wide", "wider than tall"):
        return None
    if shape == "wider than tall" and _too_common(rng):
        return None
    return Seen("shape", f"Is the land on {item.expression} taller than wide, or wider than tall?", (shape,))


def _joined_stars(scene: Scene, item: Item, rng: np.random.Generator) -> Seen | None:
    stars = _described(item)["stars"] if item.domain == "constellations" else 0
    if not 0 < stars <= _MOST_STARS:
        return None
    return Seen("joined-stars", f"How many stars do the lines of {item.expression} join?", _number(stars))


def _lines(scene: Scene, item: Item, rng: np.random.Generator) -> Seen | None:
    lines = _described(item)["lines"] if item.domain == "spectra" else 0
    if not 0 < lines <= _MOST_LINES:
        return None
    return Seen("lines", f"How many bright lines does {item.expression} show?", _number(lines))


def _brightest(scene: Scene, item: Item, rng: np.random.Generator) -> Seen | None:
    if item.domain != "spectra":
        return None
    colour = _described(item)["brightest_colour"]
    return Seen("brightest", f"What colour is the brightest line of {item.expression}?", (colour,))


_ASKERS: tuple[Asker, ...] = (
    _count_kind,
    _count_all,
    _is_there,
    _side,
    _larger,
    _background,
    _colour,
    _stripes,
    _star,
    _shape,
    _joined_stars,
    _lines,
    _brightest,
)
