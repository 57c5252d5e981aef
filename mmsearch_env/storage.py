"""Trajectories on disk: a JSONL file, one episode a line, and beside it the folder `images/` with their pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

from mmsearch_env.errors import TrajectoryError
from mmsearch_env.pictures import read_png, write_png
from mmsearch_env.records import Pixels, pixel_digest
from mmsearch_env.trajectory import Trajectory
from mmsearch_env.trajectory_rows import check_digests, check_row
from mmsearch_env.worlds import World


class TrajectoryWriter:
    """Appends episodes to a JSONL file and their pictures to `images/` beside it.

    Each episode is one whole line, flushed to disk before `write` returns, so a process that is killed loses at most
    the line that it was writing. Opening the file again drops such a torn last line.
    """

    def __init__(self, path: str | os.PathLike[str], *, append: bool = False) -> None:
        """Open `path` for writing; with `append`, go on after the last whole line.

        Raises:
            FileExistsError: if the file exists and `append` is False.
        """
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if append and self.path.exists():
            _drop_torn_line(self.path)
        self._file: BinaryIO = self.path.open("ab" if append else "xb")

    def write(self, trajectory: Trajectory, images: Mapping[str, Pixels] | World) -> None:
        """Append one episode, and its pictures where they are not there yet.

        Args:
            trajectory: the episode.
            images: the world that was played, or a mapping from each digest in `trajectory.images` to its pixels.

        Raises:
            TrajectoryError: if a picture is missing or is another one, or the episode holds a value that could not be
                loaded again, e.g. a reward that is not finite. Nothing is written then.
        """
        line = _to_line(trajectory)
        folder = self.path.parent / "images"
        wanted = {digest: folder / f"{digest}.png" for digest in trajectory.images}
        pixels = {digest: _picture(images, digest) for digest, target in wanted.items() if not target.exists()}
        for digest, picture in pixels.items():
            folder.mkdir(exist_ok=True)
            write_png(wanted[digest], picture)
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()


def _picture(images: Mapping[str, Pixels] | World, digest: str) -> Pixels:
    if isinstance(images, World):
        return images.image(digest)
    if digest not in images:
        raise TrajectoryError(f"Expected images to hold the picture {digest}, got none. Pass the world, which has it.")
    found = pixel_digest(images[digest])
    if found != digest:
        raise TrajectoryError(
            f"Expected the pixels of picture {digest}, got those of {found}. The observation's picture is letterboxed: "
            'pass the world, or info["image"].'
        )
    return images[digest]


def _to_line(trajectory: Trajectory) -> bytes:
    row = trajectory.to_row()
    check_row(row)
    try:
        text = json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise TrajectoryError(
            f"Expected values that JSON has, got settings or arguments with others: {error}."
        ) from error
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can write
        return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def _drop_torn_line(path: Path) -> None:
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def save_trajectories(
    path: str | os.PathLike[str], trajectories: Iterable[Trajectory], images: Mapping[str, Pixels] | World
) -> None:
    """Write `trajectories` to a new JSONL file at `path`, all or nothing, and their pictures to `images/` beside it.

    Args:
        path: the file to write, which is replaced if it exists; for a folder, `trajectories.jsonl` in it.
        trajectories: the episodes.
        images: the world that was played, or a mapping from digest to pixels for every picture that the episodes name.

    Raises:
        TrajectoryError: if a picture is missing or is another one, or an episode could not be loaded again.
    """
    target = Path(path)
    if target.is_dir():
        target = target / "trajectories.jsonl"
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with TrajectoryWriter(partial) as writer:
            for trajectory in trajectories:
                writer.write(trajectory, images)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def load_trajectories(path: str | os.PathLike[str]) -> list[Trajectory]:
    """Read the trajectories of a JSONL file.

    Args:
        path: the file, or a folder that holds `trajectories.jsonl`.

    Raises:
        FileNotFoundError: if there is no such file.
        TrajectoryError: if a line cannot be read; the message names the file and the line.
    """
    source = Path(path)
    if source.is_dir():
        source = source / "trajectories.jsonl"
    trajectories = []
    with source.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                if not line.endswith(b"\n"):
                    raise TrajectoryError("the last line is torn; was the writer killed? Delete it, or resume the run.")
                row = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
                if not isinstance(row, dict):
                    raise TrajectoryError(f"Expected a JSON object, got {type(row).__name__}.")
                trajectories.append(Trajectory.from_row(row))
            except (ValueError, RecursionError) as error:  # of the decoders; a TrajectoryError is a ValueError
                raise TrajectoryError(f"{source}, line {number}: {error}") from error
    return trajectories


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"Expected JSON, which does not have the number {name}.")


def load_image(path: str | os.PathLike[str], digest: str) -> Pixels:
    """Read the picture named `digest` that stands beside the trajectories at `path`, uint8 (height, width, 3).

    Raises:
        TrajectoryError: if `digest` is no digest, or the picture is missing, or its pixels are not those named.
    """
    check_digests([digest])
    source = Path(path)
    folder = source if source.is_dir() else source.parent
    try:
        return read_png(folder / "images" / f"{digest}.png", digest)
    except (OSError, ValueError) as error:
        raise TrajectoryError(f"Expected the picture images/{digest}.png beside {source}, got: {error}") from error
