"""Replay of recorded searches: a dict look-up, no network, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal

from mmsearch_env.errors import BackendError, ConfigurationError, ReplayMiss, WorldError, unknown
from mmsearch_env.records import Document, Hit, Query
from mmsearch_env.search.backend import SearchBackend
from mmsearch_env.search.keys import query_digest, query_key
from mmsearch_env.search.words import leading, words

OnMiss = Literal["error", "empty", "index"]
ON_MISS: tuple[OnMiss, ...] = ("error", "empty", "index")
"""What a composed backend does with a query that nobody recorded."""

Row = Mapping[str, Any]


class ReplayBackend:
    """Answers from recordings and from nothing else.

    Args:
        recordings: rows as `recording_row` makes them.
        documents: the world's documents by id; fields that a recorded hit lacks are taken from them.
        provider: whose recordings to replay. None takes the only provider that there is, for text and for images each.

    Raises:
        ConfigurationError: if `provider` has no recordings, or None leaves a choice.
        WorldError: if a row is broken, its key is not that of its query, or two rows share a key.
    """

    def __init__(
        self, recordings: Iterable[Row], documents: Mapping[str, Document], *, provider: str | None = None
    ) -> None:
        """Index the recordings by key; hits are made when they are first asked for."""
        self._documents = documents
        self._rows: dict[str, Row] = {}
        self._hits: dict[str, tuple[Hit, ...]] = {}
        providers: dict[str, set[str]] = {"text": set(), "image": set()}
        seen: set[str] = set()
        for row in recordings:
            kind = _check(row)
            seen.add(row["provider"])
            if provider is not None and row["provider"] != provider:
                continue
            if row["key"] in self._rows:
                raise WorldError(f"Expected recording keys to be unique, got {row['key']!r} twice. Remove one row.")
            self._rows[row["key"]] = row
            providers[kind].add(row["provider"])
        if provider is not None and seen and provider not in seen:
            raise ConfigurationError(unknown("provider", provider, seen))
        self._provider = {kind: _only(names, kind) for kind, names in providers.items()}

    def __len__(self) -> int:
        """Return the number of recordings that can be replayed."""
        return len(self._rows)

    def find(self, query: Query, k: int = 5) -> list[Hit] | None:
        """Return the recorded hits, or None if this query was never recorded with this `k`.

        Raises:
            BackendError: if the recorded search failed; the message has the recorded kind and message.
            WorldError: if a recorded hit names no document and does not describe itself.
        """
        provider = self._provider["image" if query.text is None else "text"]
        if provider is None:
            return None
        key = query_key(query, k, provider)
        hits = self._hits.get(key)
        if hits is not None:
            return list(hits)
        row = self._rows.get(key)
        if row is None:
            return None
        fault = row.get("fault")
        if fault is not None:
            raise BackendError(f"{fault['kind']}: {fault['message']}")
        # Two threads may both come here; they make equal hits.
        hits = self._hits[key] = tuple(self._hit(hit, row) for hit in row["hits"])
        return list(hits)

    def search(self, query: Query, k: int = 5) -> list[Hit]:
        """Return the recorded hits, best first.

        Raises:
            ReplayMiss: if this query was never recorded with this `k`; the message names the nearest recordings.
            BackendError: if the recorded search failed.
        """
        hits = self.find(query, k)
        if hits is None:
            raise ReplayMiss(self._miss(query, k))
        return hits

    def _hit(self, recorded: Row, row: Row) -> Hit:
        document = self._documents.get(recorded["document_id"])
        if document is None and not {"title", "url", "snippet"} <= recorded.keys():
            raise WorldError(
                f"Expected recording {row['key']} to name documents of the world, got {recorded['document_id']!r}. "
                "Add the document, or give the hit its own title, url and snippet."
            )
        given = {name: str(recorded[name]) for name in ("title", "url", "snippet") if name in recorded}
        if document is not None:
            given.setdefault("title", document.title)
            given.setdefault("url", document.url)
            if "snippet" not in given:
                given["snippet"] = leading(document.text)
        return Hit(
            document_id=recorded["document_id"],
            score=float(recorded["score"]),
            source=f"replay:{row['provider']}",
            **given,
        )

    def _miss(self, query: Query, k: int) -> str:
        remedy = 'Record it, or choose on_miss="index" or "empty".'
        if query.text is None:
            count = sum("image" in row["query"] for row in self._rows.values())
            return (
                f"Expected a recorded image search, got a picture with digest {query_digest(query)} and k={k}, which "
                f"is not among the {count} recorded. {remedy}"
            )
        texts = [(row["query"]["text"], row["k"]) for row in self._rows.values() if "text" in row["query"]]
        near = [f"{text!r} (k={recorded_k})" for text, recorded_k in _nearest(query.text, texts)]
        listed = f"the nearest are {', '.join(near)}" if near else "none is like it"
        return (
            f"Expected a recorded text search, got {query.text!r} with k={k}; of {len(texts)} recorded, {listed}. "
            f"{remedy}"
        )


class FallbackBackend:
    """Replays what was recorded and hands every other query on; a recorded fault is still raised."""

    def __init__(self, replay: ReplayBackend, fallback: SearchBackend | None) -> None:
        """Take the `fallback` that answers what nobody recorded; None answers it with no results."""
        self._replay = replay
        self._fallback = fallback

    def search(self, query: Query, k: int = 5) -> list[Hit]:
        """Return the recorded hits, else those of the fallback, best first.

        Raises:
            BackendError: if the recorded search failed, or the fallback does.
        """
        hits = self._replay.find(query, k)
        if hits is not None:
            return hits
        return [] if self._fallback is None else self._fallback.search(query, k)


def compose(on_miss: OnMiss, replay: ReplayBackend, index: SearchBackend) -> SearchBackend:
    """Make the backend that replays, and treats what nobody recorded as `on_miss` says.

    Args:
        on_miss: `"error"` raises `ReplayMiss`, `"empty"` finds nothing, `"index"` asks `index`.
        replay: the recordings.
        index: the world's own index.

    Raises:
        ConfigurationError: if `on_miss` is none of these.
    """
    if on_miss == "error":
        return replay
    if on_miss == "empty":
        return FallbackBackend(replay, None)
    if on_miss == "index":
        return FallbackBackend(replay, index)
    raise ConfigurationError(unknown("on_miss", on_miss, ON_MISS))


def recording_row(
    query: Query,
    k: int,
    provider: str,
    hits: Sequence[Hit | Row] | None = None,
    *,
    fault: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Make the row of one recorded search, ready for JSON.

    Args:
        query: what was asked; of a picture only the digest is kept.
        k: how many results were asked for.
        provider: who was asked.
        hits: the results, as `Hit`s or as mappings with at least `document_id` and `score`.
        fault: `{"kind": …, "message": …}` if the search failed.

    Raises:
        ValueError: unless exactly one of `hits` and `fault` is given.
    """
    if (hits is None) == (fault is None):
        raise ValueError("Expected exactly one of hits and fault=, got both or none.")
    asked = {"text": query.text} if query.text is not None else {"image": query_digest(query)}
    row: dict[str, Any] = {"key": query_key(query, k, provider), "query": asked, "k": k, "provider": provider}
    if fault is not None:
        return row | {"fault": {"kind": fault["kind"], "message": fault["message"]}}
    return row | {"hits": [_hit_row(hit) if isinstance(hit, Hit) else dict(hit) for hit in hits or ()]}


def record(backend: SearchBackend, queries: Iterable[Query], k: int, provider: str) -> list[dict[str, Any]]:
    """Ask `backend` each query and return the rows, one per distinct key; a failing search becomes a fault."""
    rows: dict[str, dict[str, Any]] = {}
    for query in queries:
        key = query_key(query, k, provider)
        if key in rows:
            continue
        try:
            rows[key] = recording_row(query, k, provider, backend.search(query, k))
        except BackendError as error:
            fault = {"kind": type(error).__name__, "message": str(error)}
            rows[key] = recording_row(query, k, provider, fault=fault)
    return list(rows.values())


def _hit_row(hit: Hit) -> dict[str, Any]:
    return {
        "document_id": hit.document_id,
        "score": hit.score,
        "title": hit.title,
        "url": hit.url,
        "snippet": hit.snippet,
    }


def _check(row: Row) -> str:
    """Return whether `row` is a `text` or an `image` search.

    Raises:
        WorldError: if the row is broken or its key is not that of its query.
    """
    try:
        asked, k, provider, key = row["query"], row["k"], row["provider"], row["key"]
        kind = "text" if "text" in asked else "image"
        query = Query(text=asked["text"]) if kind == "text" else _digest_query(asked["image"])
        if ("hits" in row) == ("fault" in row):
            raise WorldError(
                f"Expected recording {key!r} to have exactly one of 'hits' and 'fault', got {sorted(row)}."
            )
        if "fault" in row:
            _ = row["fault"]["kind"], row["fault"]["message"]
        for hit in row.get("hits", ()):
            _ = hit["document_id"], float(hit["score"])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, WorldError):
            raise
        raise WorldError(
            f"Expected a recording {{key, query: {{text | image}}, k, provider, hits | fault}}, got {row!r:.200} "
            f"({type(error).__name__}: {error}). Record it again."
        ) from error
    expected = query_key(query, k, provider)
    if key != expected:
        raise WorldError(f"Expected the recording of {dict(asked)!r} to have the key {expected}, got {key!r}.")
    return kind


def _digest_query(digest: str) -> Query:
    import numpy as np

    return Query(image=np.zeros((1, 1, 3), np.uint8), digest=digest)


def _only(providers: set[str], kind: str) -> str | None:
    if len(providers) > 1:
        names = ", ".join(sorted(providers))
        raise ConfigurationError(f"Expected {kind} recordings of one provider, got {names}. Choose one: provider=….")
    return next(iter(providers), None)


def _nearest(text: str, recorded: Sequence[tuple[str, int]], limit: int = 3) -> list[tuple[str, int]]:
    """Return up to `limit` recorded queries most like `text`: by shared words, else by spelling."""
    wanted = set(words(text))
    ranked: list[tuple[int, str, int]] = []
    for candidate, k in recorded:
        have = set(words(candidate))
        shared = len(wanted & have)
        if shared:
            ranked.append((-1000 * shared // len(wanted | have), candidate, k))
    if ranked:
        return [(candidate, k) for _, candidate, k in sorted(ranked)[:limit]]
    close = get_close_matches(text, sorted({candidate for candidate, _ in recorded}), n=limit)
    return sorted(
        ((candidate, k) for candidate, k in recorded if candidate in close), key=lambda it: close.index(it[0])
    )[:limit]
