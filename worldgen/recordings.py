"""Records what a world's own indexes answer to the searches that its tasks call for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmsearch_env.records import Box, Document, Pixels, Query, Task
from mmsearch_env.search.backend import SearchBackend
from mmsearch_env.search.replay import record
from mmsearch_env.search.words import leading

PROVIDER = "atlas"
K = 5
"""How many results the environment asks for unless told otherwise."""

Row = dict[str, Any]


def picture_queries(tasks: Iterable[Task], images: Mapping[str, Pixels]) -> Iterator[Query]:
    """Yield the searches for each task's whole picture and for each region that has an expression."""
    regions: dict[str, set[Box]] = {}
    for task in tasks:
        regions.setdefault(task.image, set()).update(task.boxes.values())
    for digest, boxes in regions.items():
        yield Query(image=images[digest], digest=digest)
        for box in sorted(boxes, key=Box.as_list):
            yield Query(image=np.ascontiguousarray(box.crop(images[digest])))


def text_queries(tasks: Iterable[Task]) -> Iterator[Query]:
    """Yield the text searches of each task's plan."""
    for task in tasks:
        for step in task.metadata.get("plan", ()):
            if step.get("query"):
                yield Query(text=step["query"])


def record_searches(
    tasks: Sequence[Task],
    images: Mapping[str, Pixels],
    documents: Mapping[str, Document],
    *,
    text_index: SearchBackend,
    image_index: SearchBackend,
) -> list[Row]:
    """Ask the indexes everything that the tasks' plans ask, once per distinct query.

    Args:
        tasks: whose pictures, regions and plans are searched.
        images: pixels by digest.
        documents: the world's documents by id.
        text_index: answers the texts.
        image_index: answers the pictures.

    Returns:
        Rows for `write_world`; of each hit only what its document does not already say.
    """
    rows = record(image_index, picture_queries(tasks, images), K, PROVIDER)
    rows += record(text_index, text_queries(tasks), K, PROVIDER)
    return [_compact(row, documents) for row in rows]


def _compact(row: Row, documents: Mapping[str, Document]) -> Row:
    """Leave out of the hits what replay takes from the document anyway."""
    if "hits" not in row:
        return row
    hits = []
    for hit in row["hits"]:
        document = documents[hit["document_id"]]
        implied = {"title": document.title, "url": document.url, "snippet": leading(document.text)}
        hits.append({key: value for key, value in hit.items() if implied.get(key) != value})
    return row | {"hits": hits}
