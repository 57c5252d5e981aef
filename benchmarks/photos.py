"""Makes a world of openly licensed photographs, so that region search is measured on pictures that nobody drew.

It reads the folder `photos` of the shared data (see its README for sources and licences); nothing of it is in this
repository.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmsearch_env.records import Box, Document, Pixels, Task, WebPicture, pixel_digest
from mmsearch_env.search.encoders import get_encoder
from mmsearch_env.worlds import index_descriptors, write_world

PHOTOS = Path(__file__).resolve().parent.parent.parent / "shared" / "worlds" / "photos"

Row = dict[str, Any]


def write_photos_world(path: Path, *, same_photograph: bool, source: Path = PHOTOS) -> Path:
    """Write a world of the scenes: one task per box, "What is <expression>?", answered by the entity's name.

    Args:
        path: the folder to make.
        same_photograph: whether the web holds the very photographs that the scenes are made of; if not, it holds only
            the others, and a box whose entity has no other photograph gives no task.
        source: the folder `photos`.
    """
    scenes, photos = list(_rows(source / "scenes.jsonl")), list(_rows(source / "images.jsonl"))
    shown = {box["source_image"] for scene in scenes for box in scene["boxes"]}
    indexed = photos if same_photograph else [photo for photo in photos if photo["image"] not in shown]
    findable = {photo["title"] for photo in indexed}
    documents = {
        row["title"]: Document(
            id=row["id"],
            title=row["title"],
            url=row["url"],
            text=row["text"],
            domain="encyclopedia",
            metadata={"licence": "CC-BY-SA-4.0", "author": "Wikipedia contributors"},
        )
        for row in _rows(source / "documents.jsonl")
    }
    images: dict[str, Pixels] = {}
    pictures = []
    for photo in indexed:
        digest = _add(images, source / photo["image"])
        pictures.append(
            WebPicture(
                image=digest,
                title=photo["title"],
                url=photo["source_url"],
                document_id=documents[photo["title"]].id,
                metadata={"licence": photo["license"], "author": photo["author"], "changes": photo["changes"]},
            )
        )
    tasks = [task for scene in scenes for task in _tasks(scene, findable, images, source)]
    encoder = get_encoder()
    return write_world(
        path,
        name="photos-same" if same_photograph else "photos-other",
        version="1",
        licence="CC-BY-SA-4.0",
        tasks=tasks,
        documents=list(documents.values()),
        pictures=pictures,
        images=images,
        encoder=encoder.name,
        descriptors={encoder.name: index_descriptors((images[picture.image] for picture in pictures), encoder)},
        overwrite=True,
    )


def _tasks(scene: Row, findable: set[str], images: dict[str, Pixels], source: Path) -> Iterator[Task]:
    boxes = {expression: Box.of(box["box"]) for box in scene["boxes"] for expression in box["expressions"]}
    for number, box in enumerate(scene["boxes"]):
        if box["title"] in findable:
            expression = box["expressions"][0]
            yield Task(
                id=f"{Path(scene['image']).stem}-{number}",
                image=_add(images, source / scene["image"]),
                question=f"What is {expression}?",
                answers=tuple(dict.fromkeys([box["entity"], box["title"]])),
                needs_search=True,
                category="identification",
                domain="photographs",
                split="test",
                expression=expression,
                boxes=boxes,
                entities=tuple(dict.fromkeys(other["title"] for other in scene["boxes"])),
                metadata={"title": box["title"]},
            )


def _add(images: dict[str, Pixels], path: Path) -> str:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    digest = pixel_digest(pixels)
    images[digest] = pixels
    return digest


def _rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
