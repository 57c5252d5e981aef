"""The strategies that search: a fixed pipeline, one that decides and crops, and one that searches on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from mmsearch_agents.scripted.dialogue import Dialogue, Exchange
from mmsearch_agents.scripted.priors import Priors
from mmsearch_agents.scripted.questions import (
    Comparison,
    comparison_in,
    keywords,
    name_what_is_shown,
    nested_in,
)
from mmsearch_env.dialects.tags import GIVE_UP
from mmsearch_env.reading.cues import search_words
from mmsearch_env.reading.expressions import referring_expressions
from mmsearch_env.reading.reader import pointers, read
from mmsearch_env.reading.results import identify, read_results
from mmsearch_env.reading.spans import names
from mmsearch_env.records import Answer, Move, ToolCall
from mmsearch_env.rewards.quantities import Quantity, parse_quantity

# What the head of a comparison is about -> how to ask for it of one thing.
_MEASURES = (
    ("people", "How many people live in {}, by a recent population estimate?"),
    ("population", "What is the population estimate for {}?"),
    ("coastline", "How long is the coastline of {}?"),
    ("square degrees", "How many square degrees of area does {} cover?"),
    ("sky", "How many square degrees of area does {} cover?"),
    ("sphere", "How many square degrees of area does {} cover?"),
    ("area", "What is the total area of {} in square kilometres?"),
    ("square kilometres", "What is the total area of {} in square kilometres?"),
    ("elevation", "What is the summit elevation of {} in metres?"),
    ("summit", "What is the summit elevation of {} in metres?"),
    ("melt", "What is the melting point of {}?"),
    ("weight", "What is the standard atomic weight of {}?"),
    ("atomic number", "What is the atomic number of {}?"),
    ("periodic", "What is the atomic number of {}?"),
)
_MOST_TEXT_SEARCHES = 5


def guess(priors: Priors, question: str) -> str | None:
    """Answer without searching: the named option of a comparison, else what mostly was the answer in training."""
    comparison = comparison_in(question)
    if comparison is not None:
        return comparison.named
    form = priors.nearest(question)
    return None if form is None else form.answer


@dataclass(frozen=True)
class _Known:
    """What the tools have told so far."""

    subject: str | None
    passages: list[str]
    searched: list[Exchange]

    @classmethod
    def of(cls, dialogue: Dialogue) -> _Known:
        """Read the exchanges: the first one is the image search, the others are text searches."""
        first, *searched = dialogue.exchanges
        passages = [f"{result.title}: {result.text}" for exchange in searched for result in read_results(exchange.told)]
        return cls(identify(read_results(first.told)), passages, searched)

    def asked(self, query: str) -> bool:
        """Say whether a text search for `query` was made already."""
        return any(query in exchange.said for exchange in self.searched)


@dataclass(frozen=True)
class Rag:
    """Image search, then text search, then answer: the fixed pipeline, whether the question needs it or not."""

    priors: Priors
    name: ClassVar[str] = "rag"

    def decide(self, dialogue: Dialogue) -> tuple[str, Move]:
        """Take the pipeline's next step."""
        if not dialogue.exchanges:
            return "I look up the picture.", ToolCall("image_search")
        known = _Known.of(dialogue)
        if not known.searched:
            return "I look up the question.", ToolCall("text_search", {"query": self._query(dialogue.question, known)})
        return self._answer(dialogue.question, known)

    def _query(self, question: str, known: _Known) -> str:
        """Return the question's own words, with the name of what is shown."""
        return question if known.subject is None else keywords(_focused(question, known), known.subject)

    def _answer(self, question: str, known: _Known) -> tuple[str, Move]:
        form = self.priors.nearest(question)
        if form is not None and not form.needs_search:
            return "Such questions are mostly answered so.", Answer(form.answer)
        comparison = comparison_in(question)
        if comparison is not None:
            move = None if known.subject is None else _compare(comparison, known.subject, known)
            if isinstance(move, Answer):
                return "I compare the two.", move
        else:
            found = _read(_focused(question, known), known)
            if found is not None:
                return "A result states it.", Answer(found)
        return "I did not find it and guess.", Answer(guess(self.priors, question) or GIVE_UP)

    def to_json(self) -> dict[str, Any]:
        """Return what rebuilds the strategy."""
        return {"name": self.name, "priors": self.priors.to_json()}


@dataclass(frozen=True)
class Agent(Rag):
    """Decides whether to search, looks at the one region that the question is about, and asks once."""

    name: ClassVar[str] = "agent"

    def decide(self, dialogue: Dialogue) -> tuple[str, Move]:
        """Answer what needs no search; else crop, ask once, and answer."""
        if dialogue.exchanges:
            return super().decide(dialogue)
        form = self.priors.nearest(dialogue.question)
        if form is not None and not form.needs_search:
            return "This needs no search.", Answer(form.answer)
        expressions = referring_expressions(dialogue.question)
        if not expressions:
            return "I look up the picture.", ToolCall("image_search")
        return f"I have to know what {expressions[0]} is.", ToolCall("image_search", {"expression": expressions[0]})

    def _query(self, question: str, known: _Known) -> str:
        """Return words that a page on the matter may use, with the name of what is shown."""
        return question if known.subject is None else search_words(_focused(question, known), known.subject)


@dataclass(frozen=True)
class Refiner(Agent):
    """Searches on when the pages do not answer: along a pointer, for what has to be known first, or in other words."""

    name: ClassVar[str] = "refiner"

    def decide(self, dialogue: Dialogue) -> tuple[str, Move]:
        """Answer once the pages support an answer; until then ask the next query that was not asked yet."""
        if not dialogue.exchanges:
            return super().decide(dialogue)
        known = _Known.of(dialogue)
        comparison = comparison_in(dialogue.question)
        form = self.priors.nearest(dialogue.question)
        if known.subject is None or (form is not None and not form.needs_search):
            return super().decide(dialogue)
        if comparison is not None:
            move = _compare(comparison, known.subject, known)
            if move is not None:
                return "I compare the two.", move
        else:
            found, query = _pursue(dialogue.question, known.subject, known)
            if found is not None:
                return "A result states it.", Answer(found)
            if query is not None and len(known.searched) < _MOST_TEXT_SEARCHES:
                return "I do not have it yet.", ToolCall("text_search", {"query": query})
        return self._answer(dialogue.question, known)


def _focused(question: str, known: _Known) -> str:
    """Return the question with the name of what is shown put in, as far as it is known."""
    return question if known.subject is None else name_what_is_shown(question, known.subject)


def _read(question: str, known: _Known, subject: str | None = None) -> str | None:
    """Return what the passages answer about `subject`, or else about what is shown."""
    return read(question, known.passages, subject=subject or known.subject, sought=pointers(known.passages)).answer


def _pursue(question: str, subject: str, known: _Known) -> tuple[str | None, str | None]:
    """Return the answer if the pages support one, and else the next query, or neither if nothing is left to try."""
    focused = name_what_is_shown(question, subject)
    inner = nested_in(focused, subject)
    if inner is not None:
        first = f"What is {inner}?"
        bridge = _read(first, known, subject)
        # What is looked up first is a thing with a name: no number, no clause.
        if bridge is None or re.search(r"\d", bridge) or len(bridge.split()) > 6:
            return None, _next_query(first, subject, known)
        focused, subject = focused.replace(inner, bridge), bridge
    return _read(focused, known, subject), _next_query(focused, subject, known)


def _next_query(question: str, subject: str, known: _Known) -> str | None:
    """Return the first query not asked yet: the obvious one, the latest page pointed to, the question's plain words."""
    pointed = [title for title in reversed(pointers(known.passages)) if names(title, subject)]
    for query in (search_words(question, subject), *pointed, keywords(question, subject)):
        if not known.asked(query):
            return query
    return None


def _compare(comparison: Comparison, subject: str, known: _Known) -> Move | None:
    """Ask for the measure of one, then of the other, then name the larger; None if a measure cannot be found."""
    template = next((asked for cue, asked in _MEASURES if cue in comparison.head.lower()), None)
    if template is None:
        return None
    named = comparison.named.removeprefix("the ")
    sizes: list[float] = []
    for name in (subject, named):
        question = template.format(name)
        size = next(_sizes(_read(question, known, name)), None)
        if size is None:
            query = search_words(question, name)
            return None if known.asked(query) else ToolCall("text_search", {"query": query})
        sizes.append(size)
    return Answer(subject if sizes[0] > sizes[1] else comparison.named)


def _sizes(answer: str | None) -> Iterator[float]:
    if answer is not None:
        quantity = parse_quantity(re.sub(r" people$", "", answer))
        if isinstance(quantity, Quantity):
            yield float(quantity.value)
