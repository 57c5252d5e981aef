"""Agents that follow a script: from one that guesses to an oracle that is told what to ask."""

from mmsearch_agents.scripted.dialogue import Dialogue, Exchange, read_dialogue
from mmsearch_agents.scripted.learner import ScriptedLearner, Strategy
from mmsearch_agents.scripted.strategies import STRATEGIES, make_strategy, strategy_from_json

__all__ = [
    "STRATEGIES",
    "Dialogue",
    "Exchange",
    "ScriptedLearner",
    "Strategy",
    "make_strategy",
    "read_dialogue",
    "strategy_from_json",
]
