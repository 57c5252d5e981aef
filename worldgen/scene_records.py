"""What the scene composer hands to the question writer: scenes and the items that they show."""

from __future__ import annotations

from dataclasses import dataclass

from mmsearch_env.records import Box


@dataclass(frozen=True)
class Item:
    """One picture of an entity inside a scene.

    Attributes:
        entity: id of what is shown, e.g. `country:norway`.
        domain: the picture domain: `flags`, `outlines`, `signals`, `constellations` or `spectra`.
        slug: the name that the domain's drawing module knows it by.
        style: how it is rendered.
        box: where it lies, in pixels of the scene.
        expression: the referring expression that questions use, unique in its scene, e.g. `the flag on the left`.
        expressions: all accepted referring expressions, `expression` first.
    """

    entity: str
    domain: str
    slug: str
    style: str
    box: Box
    expression: str
    expressions: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """One composed picture.

    Attributes:
        id: unique in the world.
        split: `train`, `validation`, `test` or `ood`.
        items: what it shows.
        background: in words, e.g. `brick wall`.
        width: of the picture in pixels.
        height: of the picture in pixels.
        image: digest of the picture (see `mmsearch_env.records.pixel_digest`).
    """

    id: str
    split: str
    items: tuple[Item, ...]
    background: str
    width: int
    height: int
    image: str
