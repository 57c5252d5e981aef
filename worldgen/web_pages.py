"""Chooses the pages that the web's pictures stand on."""

from __future__ import annotations

from collections.abc import Sequence

from mmsearch_env.records import Document
from worldgen.subjects import Subject, generator
from worldgen.web import SEED, Poster

_POSTER_SIZES = (6, 9, 12)


def picture_pages(
    subjects: Sequence[Subject], documents: Sequence[Document]
) -> dict[tuple[str, str], list[tuple[Document, str]]]:
    """Find the pages of each subject: the one about its picture twice, then the entity's first other page.

    Args:
        subjects: what the web shows.
        documents: the web's pages; `metadata` says of which `entity` each is, and which `picture` domain it shows.

    Returns:
        (entity, domain) -> pages, each with the title that the picture has there.

    Raises:
        ValueError: if a subject has no page about its picture.
    """
    about: dict[str, list[Document]] = {}
    shown: dict[tuple[str, str], Document] = {}
    for document in documents:
        entity, domain = document.metadata.get("entity"), document.metadata.get("picture")
        if entity and domain:
            shown.setdefault((entity, domain), document)
        elif entity:
            about.setdefault(entity, []).append(document)
    pages = {}
    for subject in subjects:
        page = shown.get((subject.entity, subject.domain))
        if page is None:
            raise ValueError(f"Expected a page that shows {subject.entity} in {subject.domain}, got none. Write one.")
        others = about.get(subject.entity, [page])
        pages[subject.entity, subject.domain] = [(page, page.title), (page, page.title), (others[0], page.title)]
    return pages


def find_posters(subjects: Sequence[Subject], documents: Sequence[Document]) -> list[Poster]:
    """Give every list page with enough entities that can be drawn a poster of some of them."""
    by_entity: dict[str, list[Subject]] = {}
    for subject in sorted(subjects):
        by_entity.setdefault(subject.entity, []).append(subject)
    posters = []
    for document in documents:
        listed = [entity for entity in document.metadata.get("entities", ()) if entity in by_entity]
        if len(listed) < _POSTER_SIZES[0]:
            continue
        rng = generator(SEED, "choice", document.id)
        size = max(size for size in _POSTER_SIZES if size <= len(listed))
        chosen = [listed[index] for index in sorted(rng.permutation(len(listed))[:size])]
        domain = by_entity[chosen[0]][int(rng.integers(len(by_entity[chosen[0]])))].domain
        shown = [subject for entity in chosen for subject in by_entity[entity] if subject.domain == domain]
        if len(shown) >= _POSTER_SIZES[0]:
            posters.append(Poster(document, f"Poster: {document.title}", tuple(shown)))
    return posters
