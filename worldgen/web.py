"""Draws the pictures that stand on the web's pages: other renderings of the entities than questions show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mmsearch_env.records import Document, Pixels, WebPicture, pixel_digest
from worldgen.backgrounds import Field
from worldgen.photograph import Rgba, expose, lay, trim
from worldgen.subjects import Subject, drawing_module, generator

SEED = 30_260
LONG_SIDE = (130, 200)
"""The shortest and longest long side of a single picture, in pixels."""

_PAPERS = ((255, 255, 255), (247, 247, 244), (238, 240, 243), (250, 246, 236), (228, 228, 226))
_COLOURS = 56


@dataclass(frozen=True)
class Poster:
    """A picture of several entities on one page.

    Attributes:
        document: the page that it stands on.
        title: what the page calls it.
        subjects: what it shows, row by row.
    """

    document: Document
    title: str
    subjects: tuple[Subject, ...]


def draw_picture(subject: Subject, style: str) -> Pixels:
    """Draw one web picture of a subject, uint8 (height, width, 3), about `LONG_SIDE` pixels.

    Args:
        subject: what to show.
        style: one of the drawing module's `WEB_STYLES`.
    """
    rng = generator(SEED, "picture", subject.domain, subject.slug, style)
    long_side = int(rng.integers(LONG_SIDE[0], LONG_SIDE[1] + 1))
    drawing = _scaled(drawing_module(subject.domain).draw(subject.slug, style, rng, long_side), long_side)
    margin = int(rng.integers(0, 5))
    canvas = _paper(rng, drawing.shape[1] + 2 * margin, drawing.shape[0] + 2 * margin)
    lay(canvas, drawing, (margin, margin), rng, shadow=0.0)
    return expose(canvas, rng, blur=0.25, noise=0.2, colours=_COLOURS)


def draw_poster(poster: Poster) -> Pixels:
    """Draw a poster, uint8 (height, width, 3): its subjects in rows of three or four on one sheet."""
    rng = generator(SEED, "poster", poster.document.id, poster.title)
    across = 3 if len(poster.subjects) <= 9 else 4
    down = -(-len(poster.subjects) // across)
    cell, gap = 60, 6
    canvas = _paper(rng, across * (cell + gap) + gap, down * (cell + gap) + gap)
    for place, subject in enumerate(poster.subjects):
        module = drawing_module(subject.domain)
        style = module.WEB_STYLES[int(rng.integers(len(module.WEB_STYLES)))]
        drawing = _scaled(module.draw(subject.slug, style, rng, cell), cell)
        height, width = drawing.shape[:2]
        left = gap + (place % across) * (cell + gap) + (cell - width) // 2
        top = gap + (place // across) * (cell + gap) + (cell - height) // 2
        lay(canvas, drawing, (left, top), rng, shadow=0.2)
    return expose(canvas, rng, blur=0.2, noise=0.2, colours=_COLOURS)


def draw_web(
    subjects: Sequence[Subject],
    pages: Mapping[tuple[str, str], Sequence[tuple[Document, str]]],
    posters: Sequence[Poster] = (),
) -> tuple[list[WebPicture], dict[str, Pixels]]:
    """Draw every picture of the web.

    Args:
        subjects: what to show.
        pages: (entity, domain) -> the pages that show it, each with the title of its picture; the subject's styles
            are dealt to them in turn.
        posters: pictures of several entities.

    Returns:
        The web's pictures in the order drawn, and their pixels by digest.

    Raises:
        ValueError: if two of them turn out the same.
    """
    pictures: list[WebPicture] = []
    images: dict[str, Pixels] = {}

    def add(document: Document, title: str, pixels: Pixels, entities: list[str], style: str) -> None:
        digest = pixel_digest(pixels)
        if digest in images:
            raise ValueError(f"Expected web pictures to differ, got {title!r} in style {style!r} twice.")
        images[digest] = pixels
        metadata = {"entities": entities, "style": style}
        pictures.append(
            WebPicture(image=digest, title=title, url=document.url, document_id=document.id, metadata=metadata)
        )

    for subject in subjects:
        shown_on = pages[subject.entity, subject.domain]
        for number, style in enumerate(drawing_module(subject.domain).WEB_STYLES):
            document, title = shown_on[number % len(shown_on)]
            add(document, title, draw_picture(subject, style), [subject.entity], style)
    for poster in posters:
        shown = sorted({subject.entity for subject in poster.subjects})
        add(poster.document, poster.title, draw_poster(poster), shown, "poster")
    return pictures, images


def _paper(rng: np.random.Generator, width: int, height: int) -> Field:
    colour = _PAPERS[int(rng.integers(len(_PAPERS)))]
    return np.tile(np.array(colour, dtype=np.float64), (height, width, 1))


def _scaled(drawing: Image.Image, long_side: int) -> Rgba:
    """Cut a drawing to what is visible and scale its long side, uint8 (height, width, 4)."""
    visible = trim(drawing)
    scale = long_side / max(visible.size)
    size = (max(round(visible.width * scale), 4), max(round(visible.height * scale), 4))
    return np.asarray(visible.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA"))
