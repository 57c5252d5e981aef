"""The templates that pages and questions are written from, read from `prose/*.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

FOLDER = Path(__file__).parent / "prose"


@dataclass(frozen=True)
class Attribute:
    """How one attribute is stated, asked for, searched for, and talked about without being stated."""

    query: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    mentions: tuple[str, ...]


@dataclass(frozen=True)
class Detour:
    """Two pages of a refine task: a decoy that the obvious query finds, and the page that it points to."""

    decoy_title: str
    decoy: tuple[str, ...]
    title: str
    text: tuple[str, ...]


@dataclass(frozen=True)
class Style:
    """One kind of page.

    Attributes:
        name: of the style.
        titles: to choose from.
        openings: first sentences to choose from.
        attributes: what the page states, where it is known.
        fillers: sentences that state nothing.
        requires: attributes without which an entity has no such page.
        picture: the domain whose pictures stand on the page, or "".
        quiz: whether the page asks instead of stating.
    """

    name: str
    titles: tuple[str, ...]
    openings: tuple[str, ...]
    attributes: tuple[str, ...]
    fillers: tuple[str, ...]
    requires: tuple[str, ...]
    picture: str
    quiz: bool


@dataclass(frozen=True)
class Prose:
    """All templates of one kind of entity.

    Attributes:
        owners: domain -> the words for the pictured entity in a question.
        attributes: by name.
        detours: by the name of the attribute that they hide.
        asides: sentences that state nothing, for the pages of any detour.
        styles: the other pages.
    """

    owners: Mapping[str, tuple[str, ...]]
    attributes: Mapping[str, Attribute]
    detours: Mapping[str, Detour]
    asides: tuple[str, ...]
    styles: tuple[Style, ...]


def choose(options: Sequence[T], rng: np.random.Generator) -> T:
    """Choose one of `options`, each as likely as the others."""
    return options[int(rng.integers(len(options)))]


@lru_cache
def load_prose(kind: str) -> Prose:
    """Read the templates of `country`, `signal`, `constellation` or `element`."""
    with (FOLDER / f"{kind}.toml").open("rb") as file:
        data = tomllib.load(file)
    return Prose(
        owners={domain: tuple(owners) for domain, owners in data["owners"].items()},
        attributes={name: _attribute(entry) for name, entry in data["attributes"].items()},
        detours={
            name: Detour(entry["decoy_title"], tuple(entry["decoy"]), entry["title"], tuple(entry["text"]))
            for name, entry in data.get("refine", {}).items()
        },
        asides=tuple(data["asides"]),
        styles=tuple(_style(entry) for entry in data["pages"]),
    )


def _attribute(entry: Mapping[str, Any]) -> Attribute:
    return Attribute(
        query=entry.get("query", ""),
        statements=tuple(entry["statements"]),
        questions=tuple(entry.get("questions", ())),
        mentions=tuple(entry.get("mentions", ())),
    )


def _style(entry: Mapping[str, Any]) -> Style:
    return Style(
        name=entry["style"],
        titles=tuple(entry["titles"]),
        openings=tuple(entry["openings"]),
        attributes=tuple(entry["attributes"]),
        fillers=tuple(entry["fillers"]),
        requires=tuple(entry.get("requires", ())),
        picture=entry.get("picture", ""),
        quiz=bool(entry.get("quiz", False)),
    )
