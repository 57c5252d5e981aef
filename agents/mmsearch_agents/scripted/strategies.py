"""The scripted strategies, from the simplest to the oracle, and how to make them by name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmsearch_agents.scripted.dialogue import Dialogue
from mmsearch_agents.scripted.learner import Strategy
from mmsearch_agents.scripted.oracle import Oracle
from mmsearch_agents.scripted.priors import Priors
from mmsearch_agents.scripted.searching import Agent, Rag, Refiner, guess
from mmsearch_env.dialects.tags import GIVE_UP
from mmsearch_env.errors import ConfigurationError, unknown
from mmsearch_env.reading.expressions import referring_expressions
from mmsearch_env.records import Answer, Move, ToolCall
from mmsearch_env.worlds import World, load_world

_WORDS = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


@dataclass(frozen=True)
class Random:
    """Searches and answers at random: words of the question, or of what it was told.

    Every choice is a function of the seed and the context, so the same situation gives the same move.
    """

    seed: int

    def decide(self, dialogue: Dialogue) -> tuple[str, Move]:
        """Choose any move."""
        digest = hashlib.sha256(f"{self.seed}:".encode() + dialogue.context.tobytes()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        words = _WORDS.findall(dialogue.question) or ["it"]
        told = (_WORDS.findall(dialogue.exchanges[-1].told) or words) if dialogue.exchanges else words
        kind = int(rng.integers(5))
        if kind == 0:
            return "I look at all of it.", ToolCall("image_search")
        if kind == 1:
            expressions = [*referring_expressions(dialogue.question), "the picture"]
            return "I look at a part.", ToolCall(
                "image_search", {"expression": expressions[int(rng.integers(len(expressions)))]}
            )
        if kind == 2:
            chosen = sorted(rng.choice(len(words), size=min(3, len(words)), replace=False).tolist())
            return "I search for some words.", ToolCall(
                "text_search", {"query": " ".join(words[index] for index in chosen)}
            )
        start = int(rng.integers(len(told)))
        return "I answer something.", Answer(" ".join(told[start : start + 1 + int(rng.integers(2))]))

    def to_json(self) -> dict[str, Any]:
        """Return what rebuilds the strategy."""
        return {"name": "random", "seed": self.seed}


@dataclass(frozen=True)
class Direct:
    """Never searches: answers what mostly was the answer to such a question in training."""

    priors: Priors

    def decide(self, dialogue: Dialogue) -> tuple[str, Move]:
        """Answer at once."""
        return "I answer from what I know.", Answer(guess(self.priors, dialogue.question) or GIVE_UP)

    def to_json(self) -> dict[str, Any]:
        """Return what rebuilds the strategy."""
        return {"name": "direct", "priors": self.priors.to_json()}


_FROM_PRIORS: Mapping[str, Callable[[Priors], Strategy]] = {
    "direct": Direct,
    "rag": Rag,
    "agent": Agent,
    "refiner": Refiner,
}
STRATEGIES = ("random", *_FROM_PRIORS, "oracle")
"""Names of the scripted strategies, from the simplest to the one that is told what to ask."""


def make_strategy(name: str, world: World, *, seed: int = 0) -> Strategy:
    """Return a strategy for `world`.

    Args:
        name: one of `STRATEGIES`.
        world: where its training questions come from; the oracle also looks its tasks up in it.
        seed: of `random`.

    Raises:
        ConfigurationError: if there is no such strategy.
    """
    if name == "random":
        return Random(seed)
    if name == "oracle":
        return Oracle(world)
    if name in _FROM_PRIORS:
        return _FROM_PRIORS[name](Priors.from_tasks(world.tasks("train") if "train" in world.splits else ()))
    raise ConfigurationError(unknown("strategy", name, STRATEGIES))


def strategy_from_json(state: Mapping[str, Any]) -> Strategy:
    """Rebuild a strategy from its `to_json`.

    Raises:
        ConfigurationError: if there is no such strategy.
    """
    name = state["name"]
    if name == "random":
        return Random(int(state["seed"]))
    if name == "oracle":
        return Oracle(load_world(state["world"]))
    if name in _FROM_PRIORS:
        return _FROM_PRIORS[name](Priors.from_json(state["priors"]))
    raise ConfigurationError(unknown("strategy", name, STRATEGIES))
