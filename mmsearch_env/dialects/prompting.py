"""Prompt texts: the bundled sets `full` and `short`, or a user's own file.

A file holds the text of the first user turn (the picture comes before it, the question after it). Two further texts,
which follow the results of a search, may stand behind lines that read `--- after image search ---` and
`--- after text search ---`.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path

from mmsearch_env.errors import ConfigurationError, unknown

BUNDLED = ("full", "short")
_FOLDER = Path(__file__).with_name("prompts")
_SECTION = re.compile(r"^--- after (image|text) search ---[^\S\n]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSet:
    """The words of a dialect to its policy: before the question, and after the results of each kind of search."""

    initial: str
    after_image: str = ""
    after_text: str = ""

    def after(self, tool: str) -> str:
        """Return the text that follows the results of `tool`, behind a newline; empty if there is none."""
        text = self.after_image if tool == "image_search" else self.after_text
        return f"\n{text}" if text else ""


def load_prompts(dialect: str, prompts: str) -> PromptSet:
    """Load a set of prompts.

    Args:
        dialect: the dialect's name.
        prompts: `full`, `short`, or the path of a text file.

    Raises:
        ConfigurationError: if there is no such set, or the file cannot be read.
    """
    path = _FOLDER / f"{dialect}.{prompts}.txt" if prompts in BUNDLED else Path(prompts)
    try:
        return _load(path, path.stat().st_mtime_ns)
    except (OSError, ValueError) as error:
        reason = "" if path.suffix == "" else f" Reading {os.fspath(path)!r} failed: {error}."
        raise ConfigurationError(
            unknown("prompts", prompts, BUNDLED) + f"{reason} Or give the path of a text file."
        ) from error


@functools.lru_cache(maxsize=64)
def _load(path: Path, modified: int) -> PromptSet:
    # The time is only part of the cache's key: a file written anew is read anew.
    initial, *rest = _SECTION.split(path.read_text(encoding="utf-8"))
    sections = dict(zip(rest[::2], rest[1::2], strict=True))
    return PromptSet(
        initial=initial.strip(),
        after_image=sections.get("image", "").strip(),
        after_text=sections.get("text", "").strip(),
    )
