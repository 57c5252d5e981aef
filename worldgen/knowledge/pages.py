"""Writes the web's pages from facts and templates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from mmsearch_env.records import Document
from worldgen.knowledge.facts import Entity, Facts
from worldgen.knowledge.listings import listing_pages, look_alike_pages
from worldgen.knowledge.prose import Prose, Style, choose, load_prose
from worldgen.subjects import generator

SEED = 40_410
_HOSTS = {
    "encyclopedia": "encyclopedia.example",
    "news": "daily.example",
    "forum": "forum.example",
    "quiz": "quiz.example",
    "travel": "travel.example",
}
_KINDS = ("country", "signal", "constellation", "element")
_FILLERS = 6
_ASIDES = 3


def build_documents(facts: Facts, rng: np.random.Generator) -> list[Document]:
    """Write every page of the web, in a fixed order.

    Args:
        facts: what the pages state.
        rng: not used by the pages of an entity, which have generators of their own, so that adding an entity changes
            no other page; it orders the look-alike pages.
    """
    documents = [page for kind in _KINDS for entity in facts.of_kind(kind) for page in _entity_pages(entity)]
    documents += listing_pages(facts)
    extra = look_alike_pages()
    documents += [extra[index] for index in rng.permutation(len(extra)).tolist()]
    return documents


def detours_of(entity: Entity) -> tuple[str, ...]:
    """Return the attributes of an entity that only a page behind a detour states: one, two if it has many, or none."""
    detours = load_prose(entity.kind).detours
    available = sorted(name for name in detours if name in entity.values)
    rng = generator(SEED, "detours", entity.id)
    if len(detours) == 1 and rng.random() < 0.5:
        return ()
    count = min(len(available), 1 if len(available) < 3 else 2)
    order = rng.permutation(len(available))
    return tuple(sorted(available[index] for index in order[:count]))


def fill(template: str, entity: Entity, **values: str) -> str:
    """Put an entity's names, and further values, into a template; two full stops at its end become one."""
    names = {"name": entity.name, "n": entity.inside, "N": entity.start, "star": entity.star, **values}
    filled = re.sub(r"\{(\w+)\}", lambda match: names[match[1]], template)
    return filled.removesuffix(".") if filled.endswith("..") else filled


def _entity_pages(entity: Entity) -> Iterator[Document]:
    prose = load_prose(entity.kind)
    hidden = detours_of(entity)
    for style in prose.styles:
        if all(name in entity.values for name in style.requires):
            yield _page(entity, style, prose, hidden)
    for attribute in hidden:
        detour = prose.detours[attribute]
        value = entity.values[attribute].text
        target = fill(detour.title, entity)
        rng = generator(SEED, entity.id, "asides", attribute)
        *talk, pointer = (fill(sentence, entity, target=target) for sentence in detour.decoy)
        decoy = [*talk, *_some(prose.asides, _ASIDES, rng), pointer]
        yield _document(entity, f"about-{attribute}", fill(detour.decoy_title, entity), decoy)
        text = [fill(sentence, entity, value=value) for sentence in detour.text]
        yield _document(entity, f"detour-{attribute}", target, [*text, *_some(prose.asides, _ASIDES, rng)])


def _page(entity: Entity, style: Style, prose: Prose, hidden: Sequence[str]) -> Document:
    rng = generator(SEED, entity.id, style.name)
    body = [fill(text, entity) for text in _some(style.fillers, _FILLERS, rng)]
    stated = [name for name in style.attributes if name in entity.values]
    facts = [
        fill(choose(prose.attributes[name].statements, rng), entity, value=entity.values[name].text)
        for name in stated
        if name not in hidden
    ]
    talk = [name for name in stated if name in hidden]
    if style.name in ("news", "forum", "travel", "quiz"):
        talk = sorted({*talk, *hidden})
    facts += [
        fill(choose(prose.attributes[name].mentions, rng), entity) for name in talk if prose.attributes[name].mentions
    ]
    if style.quiz:
        known = (name for name in sorted(entity.values) if name in prose.attributes)
        asked = [name for name in known if prose.attributes[name].questions]
        facts += [
            fill(choose(prose.attributes[name].questions, rng), entity, owner=entity.inside)
            for name in _some(asked, 3, rng)
        ]
    for sentence in facts:
        body.insert(int(rng.integers(len(body) + 1)), sentence)
    opening = fill(choose(style.openings, rng), entity)
    return _document(
        entity, style.name, fill(choose(style.titles, rng), entity), [opening, *body], picture=style.picture
    )


def _some(options: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """Choose `count` of `options`, or all if there are fewer, in the order that they stand in."""
    chosen = sorted(rng.permutation(len(options))[:count].tolist())
    return [options[index] for index in chosen]


def _document(entity: Entity, style: str, title: str, sentences: Sequence[str], *, picture: str = "") -> Document:
    host = _HOSTS.get(style, "atlas.example")
    metadata = {"entity": entity.id, "style": style}
    if picture:
        metadata["picture"] = picture
    return Document(
        id=f"{entity.kind}/{entity.slug}/{style}",
        title=title,
        url=f"https://{host}/{entity.kind}/{entity.slug}/{style}",
        text=" ".join(sentences),
        domain=entity.kind,
        metadata=metadata,
    )
