"""Taking a question apart by its words: what it points at, what it asks first, and what it compares."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmsearch_env.reading.cues import STOP_WORDS, words
from mmsearch_env.reading.expressions import referring_expressions

# "the country whose flag is <expression>", "the constellation mapped in <expression>"
_OWNER_TAIL = re.compile(r" (?:belongs to|stands for|represents|shows|show)\b")
_OWNING = "whose|that|which|represented|outlined|drawn|mapped|shown|pictured|behind|recorded|gives|flies|is|on"
_LAST_THE = re.compile(rf"\b(?-i:what) (?=is )|\b(?:the|what) (?=(?:[\w-]+ ){{1,3}}?(?:{_OWNING})\b)", re.I)
# "the signal right after <expression>": what stands between is a relation to the owner, not the owner itself.
_RELATION = re.compile(r"\b(?:after|before|next|across|borders?|belongs? to|of)\b", re.I)
_OPTIONS = re.compile(r"[:,] (?P<first>[^:,?]+?),? or (?P<second>[^:,?]+)\?")
_BEFORE_OPTION = re.compile(r"^(?:in|that of|at|on) ")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A question that offers two things to choose from, of which one is only pointed at.

    Attributes:
        named: the one that is named.
        head: what the question asks about the two.
    """

    named: str
    head: str


def comparison_in(question: str) -> Comparison | None:
    """Return the comparison that a question makes between something in the picture and something named, if any."""
    match = _OPTIONS.search(question)
    if match is None:
        return None
    options = [_BEFORE_OPTION.sub("", match[name].strip()) for name in ("first", "second")]
    pointing = [bool(referring_expressions(option)) for option in options]
    if sum(pointing) != 1:
        return None
    return Comparison(options[pointing.index(False)], question[: match.start()])


def name_what_is_shown(question: str, name: str) -> str:
    """Put `name` where the question points at the picture: "the country whose flag is the flag" becomes "Norway"."""
    lowered = question.lower()
    for expression in referring_expressions(question):
        for pointing in (expression, f"this {expression.removeprefix('the ')}"):
            start = lowered.find(pointing)
            if start < 0:
                continue
            end = start + len(pointing)
            owners = list(_LAST_THE.finditer(question[:start]))
            between = question[owners[-1].start() : start] if owners else ","
            if not re.search(r"[,:?]", between) and not _RELATION.search(between):
                start = owners[-1].start()
                tail = _OWNER_TAIL.match(question[end:])
                end += len(tail[0]) if tail else 0
            return question[:start] + name + question[end:]
    return f"{question.rstrip('?. ')} ({name})?"


def keywords(question: str, name: str) -> str:
    """Return a search query: the name, and the question's other words that carry meaning, in order, each once."""
    own = {word.casefold() for word in words(name)}
    asked = [word for word in words(question) if word.casefold() not in STOP_WORDS | own]
    return " ".join(dict.fromkeys([name, *asked]))


# What has to be looked up first: a thing that stands in a relation to the one that is shown.
_RELATED = (
    r"\bthe (?:[a-z]+ )?(?:neighbour|country|state|nation|signal|element|one) "
    r"(?:with which|across|that|next to|listed|whose|right after|after|before) [^,?:]*?"
)
_RELATED_END = (
    r"(?: shares its longest land border"
    r"| in the (?:locker order|order of the alphabet or the numbers|periodic table|list))?"
)
_ITS_STAR = r"\bthe (?:brightest star|star that outshines all others) (?:of|in) "


def nested_in(question: str, name: str) -> str | None:
    """Return the part of a question about `name` that has to be looked up first.

    Of "What is the capital of the neighbour that has the longest land border with Norway?" it is "the neighbour that
    has the longest land border with Norway". None if the question asks for a fact of `name` itself.
    """
    own = re.escape(name)
    inner = re.search(_RELATED + own + _RELATED_END, question) or re.search(_ITS_STAR + own, question)
    if inner is None:
        return None
    rest = question[: inner.start()] + question[inner.end() :]
    asked = set(re.findall(r"[a-z]+", rest.lower())) - {
        "what",
        "which",
        "is",
        "the",
        "name",
        "give",
        "of",
        "in",
        "star",
    }
    return inner[0] if asked else None
