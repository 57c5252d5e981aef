"""Interchangeable learners for `MMSearch-v0`, and the loop that trains any of them."""

from mmsearch_agents.learner import Decision, Learner, Source, train
from mmsearch_agents.registry import AGENTS, make_learner
from mmsearch_agents.shipped import POLICIES, trained_for
from mmsearch_agents.sources import Dataset, Rollouts, play

__all__ = [
    "AGENTS",
    "POLICIES",
    "Dataset",
    "Decision",
    "Learner",
    "Rollouts",
    "Source",
    "make_learner",
    "play",
    "train",
    "trained_for",
]
