"""Finding, in a question, the words that point at something in the picture."""

from __future__ import annotations

import re

_SIDE = r"(?:left|right|top|bottom|upper|lower|middle|centre|center|front|back|foreground|background)"
_PLACED = r"(?:(?:far|very|outer|upper|lower|top|bottom)[ -])*(?:leftmost|rightmost|topmost|bottommost|" + _SIDE + r")"
_PART = r"(?:(?:hand )?(?:side|corner|half|edge|part|end))?"
_NOUN = r"[a-z][\w'-]*"

# "the flag on the left", "the star chart at the top right", "the animal in the top left corner"
_NOUN_THEN_PLACE = re.compile(
    rf"\bthe ((?:{_NOUN} ){{0,2}}{_NOUN}) (?:on|in|at|to|towards|near) the ((?:{_PLACED}(?:[ -]|\b))+{_PART})",
    re.IGNORECASE,
)
# "this flag", "the flag", "the star chart": kinds of things that are shown, taken only where no place is given
_SHOWN = (
    "national flag|signal flag|flag|pennant|star chart|chart|spectrum|map|outline|picture|photo|"
    "photograph|painting|animal|bird|fish|insect|plant|flower|fruit|vegetable|tree|building|monument|bridge|tower|"
    "statue|planet"
)
# "the upper left map", "the leftmost signal flag"
_PLACE_THEN_NOUN = re.compile(rf"\bthe ((?:{_PLACED}[ -])+(?:hand )?)({_SHOWN})\b", re.IGNORECASE)
_PLAIN = re.compile(rf"\b(?:the|this|that) ({_SHOWN})\b", re.IGNORECASE)
_NOT_NOUNS = frozenset(
    [
        "and",
        "are",
        "at",
        "by",
        "did",
        "do",
        "does",
        "far",
        "for",
        "from",
        "has",
        "have",
        "in",
        "is",
        "of",
        "on",
        "or",
        "than",
        "that",
        "the",
        "to",
        "was",
        "were",
        "which",
        "with",
        "hand",
        "side",
    ]
)


def referring_expressions(question: str) -> list[str]:
    """Return the phrases of `question` that point at a part of the picture, the most specific first, each once.

    They are read off the words alone: a phrase with a place ("the flag on the left"), then one that names a kind of
    thing that pictures show ("the spectrum", "this flag" as "the flag").
    """
    found: list[str] = []
    for match in _NOUN_THEN_PLACE.finditer(question):
        noun = _last_words(match[1])
        if noun:
            found.append(f"the {noun} {question[match.end(1) : match.end()].strip()}")
    found += [f"the {match[1].strip()} {match[2]}" for match in _PLACE_THEN_NOUN.finditer(question)]
    found += [f"the {match[1]}" for match in _PLAIN.finditer(question)]
    plain = [" ".join(expression.lower().split()) for expression in found]
    return list(dict.fromkeys(plain))


def _last_words(phrase: str) -> str:
    """Keep what stands behind the last word that is no part of a noun phrase: "of the flag" gives "flag"."""
    kept: list[str] = []
    for word in phrase.split():
        kept = [] if word.lower() in _NOT_NOUNS else [*kept, word]
    return " ".join(kept)
