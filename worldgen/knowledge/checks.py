"""Tries a question's plan on the web before the question is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mmsearch_env.records import Document, Query
from mmsearch_env.search.summaries import extractive
from mmsearch_env.search.text_index import TextIndex
from worldgen.knowledge.wording import Draft

K = 5


class SearchCheck:
    """Searches pages as an episode would, and looks for answers in what it would be told."""

    def __init__(self, documents: Sequence[Document]) -> None:
        """Index the pages."""
        self._index = TextIndex(documents)
        self._documents = {document.id: document for document in documents}
        self._told: dict[str, dict[str, str]] = {}

    def told(self, query: str) -> dict[str, str]:
        """Return document id -> what a text search tells of it, best first."""
        if query not in self._told:
            hits = self._index.search(Query(text=query), K)
            texts = extractive(query, [self._documents[hit.document_id].text for hit in hits])
            self._told[query] = {hit.document_id: f"{hit.title}: {text}" for hit, text in zip(hits, texts, strict=True)}
        return self._told[query]

    def evidence(self, draft: Draft) -> list[str] | None:
        """Return the pages by which the plan answers the question, or None if it does not.

        Every query has to bring what it is for: the steps on the way the fact that the next query is made of, the last
        one an accepted answer. The obvious query of a refine question must not bring an answer.
        """
        found: list[str] = []
        for query, wanted in zip(draft.queries, draft.finds, strict=True):
            holding = [page for page, text in self.told(query).items() if _holds(text, wanted)]
            if not holding:
                return None
            found += holding
        if draft.decoy_query is not None and any(
            _holds(text, draft.answers) for text in self.told(draft.decoy_query).values()
        ):
            return None
        return list(dict.fromkeys(found))


def _holds(text: str, answers: Sequence[str]) -> bool:
    return any(re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE) for answer in answers)
