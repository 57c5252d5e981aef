"""Spaces that Gymnasium lacks: any Unicode text, and a stretch of token ids up to the end of a turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import Space

_SAMPLED = "abcdefghijklmnopqrstuvwxyz      <>/éß中🙂"


class UnicodeText(Space[str]):
    """Any text of at most `max_length` characters.

    Gymnasium's `Text` needs the finite list of its characters and costs milliseconds to sample; web text has no such
    list. Samples are short.
    """

    def __init__(self, max_length: int, *, seed: int | np.random.Generator | None = None) -> None:
        """Allow texts of at most `max_length` characters."""
        super().__init__(None, str, seed)
        self.max_length = max_length

    @property
    def is_np_flattenable(self) -> bool:
        """Whether the space can be flattened to a Box; it cannot."""
        return False

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return a random text of at most 16 characters.

        Raises:
            ValueError: if a mask or a probability is given.
        """
        if mask is not None or probability is not None:
            raise ValueError("Expected no mask and no probability: a UnicodeText cannot be sampled under one.")
        size = int(self.np_random.integers(0, min(16, self.max_length) + 1))
        return "".join(_SAMPLED[int(index)] for index in self.np_random.integers(0, len(_SAMPLED), size))

    def contains(self, x: Any) -> bool:
        """Say whether `x` is a text that is not too long."""
        return isinstance(x, str) and len(x) <= self.max_length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnicodeText) and other.max_length == self.max_length

    def __hash__(self) -> int:
        return hash((UnicodeText, self.max_length))

    def __repr__(self) -> str:
        return f"UnicodeText({self.max_length})"


class TokenSegment(Space[Any]):
    """A stretch of 1 to `max_length` token ids in which the end-of-turn id may only stand last.

    Members are one-dimensional integer arrays, or lists and tuples of ints.
    """

    def __init__(
        self, vocab_size: int, end_of_turn_id: int, max_length: int, *, seed: int | np.random.Generator | None = None
    ) -> None:
        """Allow ids in [0, vocab_size)."""
        super().__init__(None, np.int64, seed)
        self.vocab_size = vocab_size
        self.end_of_turn_id = end_of_turn_id
        self.max_length = max_length

    @property
    def is_np_flattenable(self) -> bool:
        """Whether the space can be flattened to a Box; it cannot."""
        return False

    def sample(self, mask: Any = None, probability: Any = None) -> npt.NDArray[np.int64]:
        """Return a random stretch of at most 16 ids, half of the time with the end of the turn.

        Raises:
            ValueError: if a mask or a probability is given.
        """
        if mask is not None or probability is not None:
            raise ValueError("Expected no mask and no probability: a TokenSegment cannot be sampled under one.")
        size = int(self.np_random.integers(1, min(16, self.max_length) + 1))
        ids = self.np_random.integers(0, self.vocab_size, size)
        ids[ids == self.end_of_turn_id] = (self.end_of_turn_id + 1) % self.vocab_size
        if self.np_random.random() < 0.5:
            ids[-1] = self.end_of_turn_id
        return ids

    def contains(self, x: Any) -> bool:
        """Say whether `x` is such a stretch."""
        if not isinstance(x, np.ndarray | Sequence) or isinstance(x, str | bytes):
            return False
        try:
            ids = np.asarray(x)
        except ValueError:
            return False
        if ids.ndim != 1 or not 1 <= ids.size <= self.max_length or not np.issubdtype(ids.dtype, np.integer):
            return False
        inside = ids.min() >= 0 and ids.max() < self.vocab_size
        return bool(inside and not (ids[:-1] == self.end_of_turn_id).any())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenSegment) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((TokenSegment, self._key()))

    def _key(self) -> tuple[int, int, int]:
        return self.vocab_size, self.end_of_turn_id, self.max_length

    def __repr__(self) -> str:
        return f"TokenSegment({self.vocab_size}, end_of_turn_id={self.end_of_turn_id}, max_length={self.max_length})"
