"""Named terms that rewards are composed of. Each looks only at the task and at the policy's own turns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from mmsearch_env.errors import ConfigurationError
from mmsearch_env.records import Turn
from mmsearch_env.rewards.answers import is_give_up
from mmsearch_env.rewards.judges import ask, get_judge
from mmsearch_env.rewards.reward import Finished, Judge

CALL_KINDS = ("text_search", "image_search", "crop_search")
"""The kinds of tool calls that cost: `crop_search` is an image search of a region, `image_search` one of the whole."""


class Term(Protocol):
    """One number about a finished episode."""

    @property
    def name(self) -> str:
        """The key in `Outcome.terms`."""
        ...

    def __call__(self, finished: Finished) -> float:
        """Return the term's value, before any weight.

        Raises:
            BackendError: if a judge fails.
        """
        ...


def call_kind(turn: Turn) -> str | None:
    """Return which of `CALL_KINDS` a turn called, or None. A call that was refused is still a call."""
    if turn.kind == "image_search":
        return "crop_search" if {"expression", "box"} & turn.arguments.keys() else "image_search"
    return "text_search" if turn.kind == "text_search" else None


def count_calls(finished: Finished) -> int:
    """Return how many tool calls the policy made."""
    return sum(call_kind(turn) is not None for turn in finished.turns)


@dataclass(frozen=True, slots=True)
class Correctness:
    """1 if the judge finds the final answer right, else 0; no answer, an empty one and giving up are never right."""

    judge: Judge = field(default_factory=get_judge)
    name: ClassVar[str] = "correct"

    def __call__(self, finished: Finished) -> float:
        """Ask the judge.

        Raises:
            BackendError: if the judge fails.
        """
        answer = finished.answer
        # Checked before the judge is asked, so that a lenient one cannot be talked into rewarding it.
        if answer is None or not answer.strip() or is_give_up(answer):
            return 0.0
        return float(ask(self.judge, finished.task.question, finished.task.answers, answer).correct)


@dataclass(frozen=True, slots=True)
class Format:
    """1 if the episode keeps the dialect's format rule, else 0."""

    name: ClassVar[str] = "format"

    def __call__(self, finished: Finished) -> float:
        """Return the dialect's verdict."""
        return float(finished.follows_format)


@dataclass(frozen=True, slots=True)
class SearchCost:
    """The price of all tool calls; give it a negative weight.

    Attributes:
        prices: price of one call by kind (see `CALL_KINDS`); a kind without a price costs 1.
    """

    prices: Mapping[str, float] = field(default_factory=dict)
    name: ClassVar[str] = "search_cost"

    def __post_init__(self) -> None:
        """Refuse prices for kinds that do not exist.

        Raises:
            ConfigurationError: if a kind is unknown.
        """
        if extra := sorted(self.prices.keys() - set(CALL_KINDS)):
            raise ConfigurationError(f"Expected prices for {', '.join(CALL_KINDS)}, got one for {extra[0]!r}.")

    def __call__(self, finished: Finished) -> float:
        """Sum the prices."""
        kinds = [kind for turn in finished.turns if (kind := call_kind(turn)) is not None]
        return float(sum(self.prices.get(kind, 1.0) for kind in kinds))


@dataclass(frozen=True, slots=True)
class RetrievalHit:
    """1 if a search found an evidence document of the task (`metadata["evidence"]`), else 0; averaged, a hit rate."""

    name: ClassVar[str] = "retrieval_hit"

    def __call__(self, finished: Finished) -> float:
        """Compare the hits of all turns with the evidence; a task that names none scores 0."""
        evidence = _document_ids(finished.task.metadata.get("evidence", ()))
        return float(any(not evidence.isdisjoint(turn.hits) for turn in finished.turns))


def _document_ids(evidence: Any) -> frozenset[str]:
    if isinstance(evidence, str):
        return frozenset({evidence})
    return frozenset(evidence) if isinstance(evidence, Collection) else frozenset()


@dataclass(frozen=True, slots=True)
class MalformedTurns:
    """The number of malformed turns; give it a negative weight."""

    name: ClassVar[str] = "malformed_turns"

    def __call__(self, finished: Finished) -> float:
        """Count them."""
        return float(sum(turn.kind == "malformed" for turn in finished.turns))
