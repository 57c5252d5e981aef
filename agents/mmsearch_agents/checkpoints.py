"""Checkpoints of training: a folder of learners by the number of their batch, and sources that go on from there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from mmsearch_agents.processes import ALONE, Processes
from mmsearch_agents.sources import Dataset, Rollouts
from mmsearch_env.errors import ConfigurationError


class Resumable(Protocol):
    """A learner that knows how many batches it has seen, and saves all that it needs to go on."""

    batches: int

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the learner to a folder, whole or not at all."""
        ...


class Checkpoints:
    """A folder with a learner's states, `000010/`, `000020/`, …, named by how many batches it had seen.

    A folder of such a name is whole: it is written beside, flushed to the disk, and renamed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: int = 10,
        keep: int | None = 2,
        processes: Processes = ALONE,
    ) -> None:
        """Keep checkpoints in `folder`; what a process that was killed left half-written is removed.

        Args:
            folder: it is made when the first is written.
            every: after how many batches `saver` writes one.
            keep: how many of the last to keep; None keeps all.
            processes: that train the learner; all see the same folder, all call `save`, and the main one writes.

        Raises:
            ConfigurationError: if a number is not positive.
        """
        if every < 1 or (keep is not None and keep < 1):
            raise ConfigurationError(f"Expected every and keep to be at least 1, got {every} and {keep}.")
        self.folder = Path(folder)
        self._every, self._keep, self._processes = every, keep, processes
        for left in self.folder.glob(".*") if processes.main else ():
            if re.fullmatch(r"\.+\d{6,}\..*", left.name):
                shutil.rmtree(left)

    def latest(self) -> Path | None:
        """Return the folder of the last checkpoint, or None if there is none."""
        return max(self._all(), default=None, key=lambda path: int(path.name))

    def begin(self, *, resume: bool) -> Path | None:
        """Return the checkpoint to go on from, or None to begin anew.

        Raises:
            ConfigurationError: if there is none to go on from, or some are there of a run that is not to go on.
        """
        latest = self.latest()
        if resume and latest is None:
            raise ConfigurationError(
                f"Expected a checkpoint in {os.fspath(self.folder)!r} to go on from, got none. Begin without resume; "
                "the first is written after as many updates as `every` says."
            )
        if latest is not None and not resume:
            raise ConfigurationError(
                f"Expected no checkpoints of another run in {os.fspath(self.folder)!r}, got {latest.name}. Go on from "
                "it with resume, choose another folder, or remove this one."
            )
        return latest

    def _all(self) -> list[Path]:
        return [path for path in self.folder.glob("*") if re.fullmatch(r"\d{6,}", path.name)]

    def save(self, learner: Resumable) -> Path:
        """Write a checkpoint, unless it is there, and remove the oldest; return its folder."""
        target = self.folder / f"{learner.batches:06d}"
        if not self._processes.gather(target.exists())[0]:
            learner.save(target)
        if self._keep is not None and self._processes.main:
            for old in sorted(self._all(), key=lambda path: int(path.name))[: -self._keep]:
                # Renamed first: a folder that is being removed must not be taken for a checkpoint.
                leaving = old.with_name(f".{old.name}.removed")
                old.replace(leaving)
                shutil.rmtree(leaving)
        return target

    def saver(self, learner: Resumable) -> Callable[[int, Mapping[str, float]], None]:
        """Return a callback for `train` that writes a checkpoint after every so many batches."""

        def save(update: int, metrics: Mapping[str, float]) -> None:
            if learner.batches % self._every == 0:
                self.save(learner)

        return save


def resumed(source: Rollouts | Dataset, batches: int) -> Rollouts | Dataset:
    """Return `source` as it goes on after so many batches; of `Rollouts` they are not played again."""
    return replace(source, skip=source.skip + batches)
