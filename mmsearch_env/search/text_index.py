"""Text search over a world's own documents: BM25 (Robertson and Zaragoza, 2009), by bm25s (Lù, 2024)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmsearch_env.errors import ConfigurationError
from mmsearch_env.records import Document, Hit, Query
from mmsearch_env.search.words import leading, words

if TYPE_CHECKING:
    import bm25s  # type: ignore[import-untyped, unused-ignore]

SCORE_DECIMALS = 4
"""Scores are rounded to this before they are compared, so that float noise never decides a ranking."""


class TextIndex:
    """Ranks documents by BM25 over title and text; ties go to the smaller document id.

    The index is built at the first query, by one thread; later queries only read it. A title counts as if it stood
    `title_weight` times in the text.
    """

    def __init__(self, documents: Sequence[Document], *, title_weight: int = 3) -> None:
        """Take the documents; nothing is built yet.

        Raises:
            ConfigurationError: if `title_weight` is negative or two documents share an id.
        """
        if title_weight < 0:
            raise ConfigurationError(f"Expected title_weight to be zero or more, got {title_weight}.")
        self._documents = sorted(documents, key=lambda document: document.id)
        for first, second in zip(self._documents, self._documents[1:], strict=False):
            if first.id == second.id:
                raise ConfigurationError(f"Expected document ids to be unique, got {first.id!r} twice. Rename one.")
        self._title_weight = title_weight
        self._lock = threading.Lock()
        self._model: bm25s.BM25 | None = None

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._documents)

    def build(self) -> None:
        """Build the index now rather than at the first query."""
        with self._lock:
            if self._model is None and self._documents:
                self._model = self._built()

    def search(self, query: Query, k: int = 5) -> list[Hit]:
        """Return at most `k` documents that share a word with the query, best first.

        Raises:
            ConfigurationError: if the query is a picture, or `k` is not positive.
        """
        if query.text is None:
            raise ConfigurationError("Expected a text query, got an image query. Ask an ImageIndex instead.")
        if k < 1:
            raise ConfigurationError(f"Expected k to be at least 1, got {k}.")
        if self._model is None:
            self.build()
        model = self._model
        if model is None:
            return []
        ids = model.get_tokens_ids(words(query.text))
        if not ids:
            return []
        scores = np.rint(model.get_scores_from_ids(ids).astype(np.float64) * 10**SCORE_DECIMALS).astype(np.int64)
        return [self._hit(int(row), int(scores[row])) for row in _best(scores, k)]

    def _hit(self, row: int, score: int) -> Hit:
        document = self._documents[row]
        return Hit(
            document_id=document.id,
            title=document.title,
            url=document.url,
            snippet=leading(document.text),
            score=score / 10**SCORE_DECIMALS,
            source="text_index",
        )

    def _built(self) -> bm25s.BM25 | None:
        import bm25s  # type: ignore[import-untyped, unused-ignore]

        vocabulary: dict[str, int] = {}
        rows: list[list[int]] = []
        for document in self._documents:
            tokens = words(document.title) * self._title_weight + words(document.text)
            # Ids in order of appearance: bm25s's own vocabulary follows the hash seed.
            rows.append([vocabulary.setdefault(token, len(vocabulary)) for token in tokens])
        if not vocabulary:
            return None
        model = bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend="numpy", csc_backend="numpy")
        model.index((rows, vocabulary), create_empty_token=False, show_progress=False)
        return model


def _best(scores: np.ndarray[tuple[int], np.dtype[np.int64]], k: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Return the rows of the `k` largest positive scores, best first, ties by row."""
    found = np.flatnonzero(scores)
    if len(found) > k:
        threshold = np.partition(scores[found], -k)[-k]
        found = found[scores[found] >= threshold]
    order = np.argsort(-scores[found], kind="stable")[:k]
    return found[order]
