"""A run as it lies on disk: its summary, its episodes and their pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch_env.errors import ConfigurationError, TrajectoryError
from mmsearch_env.records import Pixels
from mmsearch_env.storage import load_image, load_trajectories
from mmsearch_env.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Run:
    """An evaluation that `mmsearch eval` wrote.

    Attributes:
        folder: where it lies.
        summary: the content of `summary.json`.
        trajectories: its episodes, in the order of its tasks.
    """

    folder: Path
    summary: Mapping[str, Any]
    trajectories: tuple[Trajectory, ...]

    @property
    def agent(self) -> str:
        """The name of the agent that played."""
        return str(self.summary["agent"])

    def image(self, digest: str) -> Pixels:
        """Return a picture of the run, uint8 (height, width, 3).

        Raises:
            TrajectoryError: if it is missing or damaged.
        """
        return load_image(self.folder, digest)


def is_right(trajectory: Trajectory) -> bool:
    """Say whether the episode ended in a right answer; a reward without the term `correct` is asked itself."""
    return trajectory.reward_terms.get("correct", trajectory.reward) > 0.5


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Read a run from its folder.

    Raises:
        ConfigurationError: if the folder holds no complete run.
        TrajectoryError: if its files are damaged.
    """
    path = Path(folder)
    if not (path / "summary.json").is_file():
        raise ConfigurationError(
            f"Expected the folder of a complete run, got {os.fspath(folder)!r}, which holds no summary.json. "
            "Write one with `mmsearch eval`, or finish it with --resume."
        )
    try:
        summary = json.loads((path / "summary.json").read_text("utf-8"))
    except ValueError as error:
        raise TrajectoryError(f"{path / 'summary.json'}: Expected JSON, got: {error}. Evaluate again.") from error
    missing = {"agent", "world", "accuracy", "accuracy_ci95", "by", "searches"} - set(summary)
    if missing:
        raise TrajectoryError(
            f"{path / 'summary.json'}: Expected the fields of a summary, got none of the name {sorted(missing)[0]!r}."
        )
    return Run(path, summary, tuple(load_trajectories(path)))
