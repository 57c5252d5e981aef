"""What can be drawn: one subject per entity and picture domain, and the drawing modules behind them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

import numpy as np
from PIL import Image

ENTITY_PREFIX = {
    "flags": "country",
    "outlines": "country",
    "signals": "signal",
    "constellations": "constellation",
    "spectra": "element",
}
"""Domain -> what its entities are called; an entity's id is `<prefix>:<slug>`."""


class DrawingModule(Protocol):
    """What every module of `worldgen.draw` offers."""

    SLUGS: tuple[str, ...]
    SCENE_STYLES: tuple[str, ...]
    WEB_STYLES: tuple[str, ...]

    def draw(self, slug: str, style: str, rng: np.random.Generator, size: int) -> Image.Image:
        """Return an RGBA picture of at most about `size` pixels on its long side, transparent outside."""
        ...


@dataclass(frozen=True, order=True)
class Subject:
    """One entity as one domain shows it.

    Attributes:
        domain: the picture domain, e.g. `flags`.
        slug: the name that the domain's drawing module knows it by.
        split: `train`, `validation`, `test` or `ood`.
    """

    domain: str
    slug: str
    split: str

    @property
    def entity(self) -> str:
        """The id of what is shown, e.g. `country:norway`."""
        return f"{ENTITY_PREFIX[self.domain]}:{self.slug}"


def drawing_module(domain: str) -> DrawingModule:
    """Return the module that draws a domain.

    Raises:
        ModuleNotFoundError: if there is none.
    """
    return cast(DrawingModule, import_module(f"worldgen.draw.{domain}"))


def find_subjects(
    split_of: Callable[[str], str], *, domains: Iterable[str] = tuple(ENTITY_PREFIX), per_domain: int | None = None
) -> tuple[Subject, ...]:
    """List every subject that can be drawn.

    Args:
        split_of: entity id -> its split.
        domains: the picture domains to list.
        per_domain: at most so many of each domain and split, for a small world; None takes all.
    """
    subjects = []
    for domain in domains:
        taken: dict[str, int] = {}
        for slug in sorted(drawing_module(domain).SLUGS):
            split = split_of(f"{ENTITY_PREFIX[domain]}:{slug}")
            taken[split] = taken.get(split, 0) + 1
            if per_domain is None or taken[split] <= per_domain:
                subjects.append(Subject(domain, slug, split))
    return tuple(subjects)


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Make the generator of one thing from its name, so that adding a thing does not change the others."""
    digest = hashlib.sha256("\x1f".join(map(str, (seed, *names))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))
