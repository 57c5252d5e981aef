"""How much the region searched matters: image search with the right box against the whole picture.

For every task whose picture shows at least two entities, the box of its expression and the whole picture are searched,
and the rank of the right entity is noted. Run it as `python -m benchmarks.region_search`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.photos import PHOTOS, write_photos_world
from mmsearch_env import load_world
from mmsearch_env.records import Query, Task
from mmsearch_env.worlds import World

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Ranks:
    """Where the right entity stood, 0 for first, None for not among the five."""

    region: list[int | None]
    whole: list[int | None]

    def row(self) -> dict[str, float]:
        """Return the shares in per cent."""
        return {
            "queries": len(self.region),
            "region_top1": _share(self.region, 1),
            "region_top5": _share(self.region, 5),
            "whole_top1": _share(self.whole, 1),
            "whole_top5": _share(self.whole, 5),
        }


def _share(ranks: list[int | None], k: int) -> float:
    return round(100 * sum(rank is not None and rank < k for rank in ranks) / len(ranks), 1) if ranks else 0.0


def measure(world: World, tasks: Iterable[Task], is_right: Callable[[Task, str], bool]) -> Ranks:
    """Search each distinct (picture, expression) of `tasks` by its box and by the whole picture.

    Args:
        world: whose image search is asked.
        tasks: tasks with an expression.
        is_right: whether a document is about the entity that a task's expression refers to.
    """
    seen = {(task.image, task.expression): task for task in tasks}
    region, whole = [], []
    for task in seen.values():
        pixels = world.image(task.image)
        box = task.boxes[task.expression or ""]
        region.append(_rank(world, Query(image=box.crop(pixels)), task, is_right))
        whole.append(_rank(world, Query(image=pixels, digest=task.image), task, is_right))
    return Ranks(region, whole)


def _rank(world: World, query: Query, task: Task, is_right: Callable[[Task, str], bool]) -> int | None:
    hits = world.images.search(query, 5)
    return next((rank for rank, hit in enumerate(hits) if is_right(task, hit.document_id)), None)


def atlas_rows() -> dict[str, dict[str, float]]:
    """Measure atlas's test and ood splits, and test by domain."""
    world = load_world("atlas")

    def is_right(task: Task, document_id: str) -> bool:
        return bool(world.documents[document_id].metadata.get("entity") == task.metadata["entity"])

    def crowded(split: str) -> list[Task]:
        tasks = world.tasks(split)
        return [task for task in tasks if task.expression and task.metadata.get("entity") and len(task.entities) > 1]

    test = crowded("test")
    rows = {
        "atlas test": measure(world, test, is_right).row(),
        "atlas ood": measure(world, crowded("ood"), is_right).row(),
    }
    for domain in sorted({task.domain for task in test}):
        chosen = [task for task in test if task.domain == domain]
        rows[f"atlas test, {domain}"] = measure(world, chosen, is_right).row()
    return rows


def photo_rows() -> dict[str, dict[str, float]]:
    """Measure the photographs, with and without the very same photograph in the index."""
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for same, name in ((True, "photos, same photograph indexed"), (False, "photos, only others indexed")):
            world = load_world(write_photos_world(Path(folder) / str(same), same_photograph=same))

            def is_right(task: Task, document_id: str, world: World = world) -> bool:
                return bool(world.documents[document_id].title == task.metadata["title"])

            rows[name] = measure(world, world.tasks("test"), is_right).row()
    return rows


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for region_search.json and .md")
    out: Path = parser.parse_args().out
    rows = atlas_rows()
    if PHOTOS.exists():
        rows |= photo_rows()
    table = _table(rows)
    print(table)
    out.mkdir(parents=True, exist_ok=True)
    (out / "region_search.json").write_text(json.dumps(rows, indent=1) + "\n")
    (out / "region_search.md").write_text(f"# Region against whole picture, per cent\n\n{table}\n")


def _table(rows: dict[str, dict[str, Any]]) -> str:
    lines = ["| scenes | queries | region top-1 | top-5 | whole top-1 | top-5 |", "|---|---|---|---|---|---|"]
    lines += [f"| {name} | " + " | ".join(f"{value:g}" for value in row.values()) + " |" for name, row in rows.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
