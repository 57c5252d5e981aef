"""The one protocol that live providers, recorders, replay and local indexes share."""

from __future__ import annotations

from typing import Protocol

from mmsearch_env.records import Hit, Query


class SearchBackend(Protocol):
    """Anything that answers a query with a ranking."""

    def search(self, query: Query, k: int = 5) -> list[Hit]:
        """Return at most `k` hits, best first.

        Raises:
            BackendError: if the search itself fails. Finding nothing is no failure: it returns `[]`.
        """
        ...
