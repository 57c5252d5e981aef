"""How text is cut into words and sentences, for indexing, ranking and snippets alike."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Chinese and Japanese write no spaces, so there every character is a word of its own.
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W_{_IDEOGRAPHS}]+")
_ACCENTS = re.compile("[\u0300-\u036f]+")
_BORDER = re.compile(r"(?<=[.!?])[\"')\]”’]*\s+(?=[\"'(\[“‘]?[^\W_a-zß-öø-ÿ])|\n+")
_ABBREVIATION = re.compile(r"(?:\b(?:[A-Z]|St|Mt|Dr|Mr|Mrs|Ms|No|ca|cf|approx|e\.g|i\.e|vs|Jr|Sr))\.$")


def words(text: str) -> list[str]:
    """Cut `text` into words: NFKC, casefolded, without accents, letters and digits of any script.

    A query may then say "Sao Tome" and find "São Tomé". No word is dropped: "The Who" stays searchable.
    """
    if not text.isascii():
        text = _ACCENTS.sub("", unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text)))
        text = unicodedata.normalize("NFC", text)
    return _WORD.findall(text.casefold())


def sentences(text: str) -> list[str]:
    """Cut `text` into sentences, at full stops that a new sentence follows and at line breaks.

    Initials and a few common abbreviations ("St.", "e.g.") end no sentence.
    """
    parts: list[str] = []
    pending = ""
    start = 0
    for border in _BORDER.finditer(text):
        pending += text[start : border.start()]
        closing = border.group().rstrip()
        pending += closing
        start = border.end()
        if "\n" not in border.group() and _ABBREVIATION.search(pending):
            pending += " "
            continue
        parts.append(pending)
        pending = ""
    parts.append(pending + text[start:])
    return [part for part in (" ".join(part.split()) for part in parts) if part]


# Hits carry the beginning of their page, and every page is found many times.
@lru_cache(maxsize=4096)
def leading(text: str, limit: int = 300) -> str:
    """Return the beginning of `text`, at most about `limit` characters, cut at a sentence or a word border.

    A cut at a sentence is preferred if it keeps at least half of `limit`; a cut inside a sentence is marked with "…".
    """
    head = " ".join(text[: 2 * limit].split())
    if len(head) <= limit:
        return head
    kept = ""
    for sentence in sentences(head):
        longer = f"{kept} {sentence}" if kept else sentence
        if len(longer) > limit:
            break
        kept = longer
    if 2 * len(kept) >= limit:
        return kept
    cut = head.rfind(" ", 0, limit)
    return head[: cut if cut > 0 else limit - 1].rstrip(" ,;:") + "…"
