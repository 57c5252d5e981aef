"""The protocol of grounders: referring expression in, boxes out."""

from __future__ import annotations

from typing import Protocol

from mmsearch_env.records import Pixels, ScoredBox


class Grounder(Protocol):
    """Finds the region of a picture that an expression refers to."""

    def locate(self, image: Pixels, expression: str) -> list[ScoredBox]:
        """Return candidate boxes in pixels of `image`, uint8 (height, width, 3), best first; `[]` if nothing fits.

        Raises:
            BackendError: if the grounder itself fails.
        """
        ...
