"""Compares image descriptors on drawings and on photographs, and writes the table that the default was chosen by.

    python -m benchmarks.image_descriptors [--scenes 260] [--per-domain N] [--photos ../shared/worlds/photos]

Sections: `drawings`, everything that `worldgen` can draw, in the web's styles as the index and in scenes as queries;
`photos, same` and `photos, other`, collages of photographs with the same photographs in the index, or with only other
photographs of the entity. A section whose data is missing is left out with a note. For each: the share of regions whose
entity is found first and among the first five, and the share of entities among the first five of the whole picture.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmsearch_env.records import Box, Pixels
from mmsearch_env.search.encoders import DEFAULT_ENCODER, get_encoder

ROOT = Path(__file__).resolve().parent.parent
SEED = 40_260
MARGIN = 3
"""A region is cut with an error of up to so many pixels at each edge of a drawing; photographs are cut exactly."""

Vector = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Region:
    """A part of a picture, what it shows, and the indexed pictures that may not answer for it."""

    box: Box
    entity: str
    kind: str
    excluded: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Section:
    """An index of pictures with the entity that each shows, and pictures with regions to ask about."""

    name: str
    index: Sequence[Pixels]
    entities: Sequence[str]
    queries: Sequence[tuple[Pixels, Sequence[Region]]]


@dataclass
class Ranks:
    """Where the right entity came, from 0, by kind of region; and for the whole pictures."""

    regions: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    wholes: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Candidate:
    """A way to describe pictures; with more than one view, a query's nearest view counts."""

    name: str
    encode: Callable[[Pixels], Vector]
    views: Callable[[Pixels], Sequence[Pixels]] = lambda pixels: (pixels,)


def perceptual_hash(kind: str) -> Callable[[Pixels], Vector]:
    """Return a hash of ImageHash with 16 x 16 bits, as zeros and ones."""
    import imagehash  # type: ignore[import-untyped, unused-ignore]

    function = getattr(imagehash, kind)
    return lambda pixels: np.asarray(function(Image.fromarray(pixels), hash_size=16).hash, dtype=np.int16).ravel()


def colour_histogram(pixels: Pixels) -> Vector:
    """Return the shares of 4 x 4 x 4 colours, in ten thousandths."""
    cells = (pixels // 64).reshape(-1, 3).astype(np.int64) @ np.array([16, 4, 1])
    return np.bincount(cells, minlength=64) * 10_000 // len(cells)


def shifted_views(pixels: Pixels) -> list[Pixels]:
    """Return the picture whole and without 4 % of two or of four edges."""
    height, width = pixels.shape[:2]
    down, across = height // 25, width // 25
    cuts = ((0, 0, 0, 0), (1, 1, 1, 1), (1, 1, 0, 0), (0, 0, 1, 1), (1, 0, 0, 1), (0, 1, 1, 0))
    return [
        pixels[top * down : height - bottom * down, left * across : width - right * across]
        for left, top, right, bottom in cuts
    ]


def candidates() -> list[Candidate]:
    """List what is compared."""
    names = ("colour_layout", "edge_layout", "colour_edge_layout")
    hashes = ("phash", "dhash", "whash")
    return [
        *(Candidate(name, perceptual_hash(name)) for name in hashes),
        Candidate("colour_histogram", colour_histogram),
        *(Candidate(name, get_encoder(name).encode) for name in names),
        Candidate("colour_edge_layout, 6 views", get_encoder("colour_edge_layout").encode, shifted_views),
    ]


def drawings(scenes: int, per_domain: int | None) -> Section:
    """Draw an index and scenes with `worldgen`.

    Raises:
        ImportError: if a drawing module is missing.
    """
    from worldgen.scenes import compose, plan_scenes
    from worldgen.subjects import drawing_module, find_subjects
    from worldgen.web import draw_picture

    subjects = find_subjects(lambda entity: "test", per_domain=per_domain)
    shown = [(subject, style) for subject in subjects for style in drawing_module(subject.domain).WEB_STYLES]
    rng = np.random.default_rng(SEED)
    queries = []
    for plan in plan_scenes(subjects, {"test": scenes}):
        scene, pixels = compose(plan)
        regions = []
        for item in scene.items:
            error = rng.integers(-MARGIN, MARGIN + 1, size=4)
            box = Box.of([edge + int(by) for edge, by in zip(item.box.as_list(), error, strict=True)])
            regions.append(Region(box.clip(scene.width, scene.height) or item.box, item.entity, item.domain))
        queries.append((pixels, regions))
    index = [draw_picture(subject, style) for subject, style in shown]
    return Section("drawings", index, [subject.entity for subject, _ in shown], queries)


def photographs(folder: Path) -> list[Section]:
    """Read the photographs, once to be found again and once to be found by other photographs of the same thing.

    Raises:
        OSError: if there are none.
    """
    rows = [json.loads(line) for line in (folder / "images.jsonl").read_text("utf-8").splitlines()]
    scenes = [json.loads(line) for line in (folder / "scenes.jsonl").read_text("utf-8").splitlines()]
    index = [_read(folder / row["image"]) for row in rows]
    titles = [row["title"] for row in rows]
    sections = []
    for name in ("photos, same", "photos, other"):
        queries = []
        for scene in scenes:
            regions = []
            for found in scene["boxes"]:
                source = frozenset(number for number, row in enumerate(rows) if row["image"] == found["source_image"])
                excluded = source if name == "photos, other" else frozenset()
                if any(titles[n] == found["title"] for n in range(len(rows)) if n not in excluded):
                    regions.append(Region(Box.of(found["box"]), found["title"], "photo", excluded))
            queries.append((_read(folder / scene["image"]), regions))
        sections.append(Section(name, index, titles, queries))
    return sections


def _read(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def measure(section: Section, candidate: Candidate) -> Ranks:
    """Rank the entities of `section` for every region and for every picture that shows two or more."""
    index = np.stack([candidate.encode(pixels) for pixels in section.index]).astype(np.int64)
    names = sorted(set(section.entities))
    numbers = {name: number for number, name in enumerate(names)}
    owner = np.array([numbers[entity] for entity in section.entities])

    def rank(pixels: Pixels, region: Region) -> int:
        distances = np.min(
            [np.abs(index - candidate.encode(view)).sum(axis=1) for view in candidate.views(pixels)], axis=0
        )
        distances[list(region.excluded)] = np.iinfo(np.int64).max
        best = np.full(len(names), np.iinfo(np.int64).max)
        np.minimum.at(best, owner, distances)
        return int(np.flatnonzero(np.argsort(best, kind="stable") == numbers[region.entity])[0])

    ranks = Ranks()
    for pixels, regions in section.queries:
        for region in regions:
            ranks.regions[region.kind].append(rank(region.box.crop(pixels), region))
            if len(regions) > 1:
                ranks.wholes.append(rank(pixels, region))
    return ranks


def milliseconds(candidate: Candidate) -> float:
    """Return the time that one region of 150 x 120 pixels takes: the least of 20."""
    pixels = np.random.default_rng(SEED).integers(0, 256, (120, 150, 3), dtype=np.uint8)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        for view in candidate.views(pixels):
            candidate.encode(view)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def _share(ranks: Sequence[int], below: int) -> float:
    return round(100 * sum(rank < below for rank in ranks) / len(ranks), 1) if ranks else float("nan")


def summary(ranks: Ranks) -> dict[str, object]:
    """Return the shares in percent that the table shows, and the counts behind them."""
    everything = [rank for kind in sorted(ranks.regions) for rank in ranks.regions[kind]]
    return {
        "regions": len(everything),
        "first": _share(everything, 1),
        "top5": _share(everything, 5),
        "whole_first": _share(ranks.wholes, 1),
        "whole_top5": _share(ranks.wholes, 5),
        "by_kind": {
            kind: {"regions": len(found), "first": _share(found, 1), "top5": _share(found, 5)}
            for kind, found in sorted(ranks.regions.items())
        },
    }


def as_markdown(report: dict[str, dict[str, dict[str, object]]], timings: dict[str, float], notes: list[str]) -> str:
    """Word the report as a table for each section."""
    lines = [
        "# Image descriptors",
        "",
        "Share of regions in percent whose entity is found first / among the first five, and the same for whole "
        "pictures that show two or more. Made by `python -m benchmarks.image_descriptors`; only the times depend on "
        f"the machine ({platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}).",
        f"The default encoder is `{DEFAULT_ENCODER}`.",
    ]
    for section, by_candidate in report.items():
        first = next(iter(by_candidate.values()))
        kinds: dict[str, dict[str, float]] = first["by_kind"]  # type: ignore[assignment]
        shown = list(kinds) if len(kinds) > 1 else []
        lines += ["", f"## {section} ({first['regions']} regions)", ""]
        lines.append("| " + " | ".join(["descriptor", "ms", "region", "whole", *shown]) + " |")
        lines.append("|" + "---|" * (4 + len(shown)))
        for name, row in by_candidate.items():
            by_kind: dict[str, dict[str, float]] = row["by_kind"]  # type: ignore[assignment]
            cells = [name, f"{timings[name]:.1f}", f"{row['first']} / {row['top5']}"]
            cells.append(f"{row['whole_first']} / {row['whole_top5']}")
            cells += [f"{by_kind[kind]['first']} / {by_kind[kind]['top5']}" for kind in shown]
            lines.append("| " + " | ".join(cells) + " |")
    lines += [f"\nLeft out: {note}" for note in notes]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and write the comparison."""
    parser = argparse.ArgumentParser(description="Compare image descriptors.")
    parser.add_argument("--scenes", type=int, default=260, help="how many scenes to draw")
    parser.add_argument("--per-domain", type=int, help="at most so many entities of each domain; all if not given")
    parser.add_argument("--photos", type=Path, default=ROOT.parent / "shared" / "worlds" / "photos")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    sections, notes = [], []
    try:
        sections.append(drawings(options.scenes, options.per_domain))
    except ImportError as error:
        notes.append(f"drawings ({error}).")
    try:
        sections += photographs(options.photos)
    except OSError:
        notes.append("photographs (not found; name their folder with --photos).")
    compared = candidates()
    timings = {candidate.name: round(milliseconds(candidate), 2) for candidate in compared}
    report = {
        section.name: {candidate.name: summary(measure(section, candidate)) for candidate in compared}
        for section in sections
    }
    text = as_markdown(report, timings, notes)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "image_descriptors.md").write_text(text, encoding="utf-8")
    content = {"default": DEFAULT_ENCODER, "sections": report, "milliseconds": timings, "left_out": notes}
    (options.out / "image_descriptors.json").write_text(
        json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
