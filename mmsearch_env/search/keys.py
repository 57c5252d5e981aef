"""The keys under which searches are recorded: they name content, never samples or positions."""

from __future__ import annotations

import json
import unicodedata
from hashlib import sha256

from mmsearch_env.records import Query, pixel_digest

KEY_VERSION = 1
"""Part of every key, so that a change of the rules below can never be mistaken for a miss."""


def normalise_text(text: str) -> str:
    """Return `text` in the form that is compared: NFKC, casefolded, whitespace collapsed and stripped."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_key(text: str, k: int, provider: str) -> str:
    """Name the text search for `text` with `k` results at `provider`, e.g. `v1:text:<64 hex digits>`."""
    return _key("text", normalise_text(text), k, provider)


def image_key(digest: str, k: int, provider: str) -> str:
    """Name the image search for the region with this `pixel_digest`, e.g. `v1:image:<64 hex digits>`."""
    return _key("image", digest, k, provider)


def query_key(query: Query, k: int, provider: str) -> str:
    """Name the search for `query`; the digest of an image is computed if the query does not bring it."""
    if query.text is not None:
        return text_key(query.text, k, provider)
    return image_key(query_digest(query), k, provider)


def query_digest(query: Query) -> str:
    """Return the digest of the picture that `query` asks about.

    Raises:
        ValueError: if the query asks with text.
    """
    if query.digest is not None:
        return query.digest
    if query.image is None:
        raise ValueError("Expected a query with an image, got one with text, which has no digest.")
    return pixel_digest(query.image)


def _key(kind: str, content: str, k: int, provider: str) -> str:
    # JSON, so that no choice of content and provider can collide with another.
    name = json.dumps([content, int(k), provider], ensure_ascii=False, separators=(",", ":"))
    return f"v{KEY_VERSION}:{kind}:{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"
