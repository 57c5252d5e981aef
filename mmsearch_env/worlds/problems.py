"""What can be wrong with a world, as a record."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a world.

    Attributes:
        file: path relative to the world's folder, with `/`.
        line: line in that file, counted from 1, or None where no line can be named.
        message: what was expected, what came, what to do.
    """

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}, line {self.line}"
        return f"{where}: {self.message}"
