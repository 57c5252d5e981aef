"""Agents by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from mmsearch_agents.learner import Learner
from mmsearch_agents.scripted import STRATEGIES, ScriptedLearner, make_strategy
from mmsearch_env.errors import ConfigurationError, unknown
from mmsearch_env.stage import Stage

AGENTS = tuple(STRATEGIES)
"""Names of the agents that come with the package."""

_LOADERS: dict[str, Callable[[Path], Learner]] = {"scripted.json": ScriptedLearner.load}
"""By the file that tells what a folder holds: how to load the learner saved in it."""


def make_learner(agent: str | os.PathLike[str], env: Any, *, seed: int = 0) -> Learner:
    """Return an agent by name, or the one saved in a folder.

    Args:
        agent: one of `AGENTS`, or the path of a folder that a learner's `save` wrote.
        env: the environment that it will act in, single, vector or wrapped; scripted agents take its codec, dialect and
            the questions of its training split from it.
        seed: of agents that choose at random.

    Raises:
        ConfigurationError: if there is no such agent.
    """
    stage = cast(Stage, env.unwrapped.stage)
    if str(agent) in STRATEGIES:
        return ScriptedLearner(make_strategy(str(agent), stage.world, seed=seed), stage.codec, stage.rules.dialect)
    folder = Path(agent)
    for marker, load in _LOADERS.items():
        if (folder / marker).exists():
            return load(folder)
    raise ConfigurationError(
        unknown("agent", str(agent), AGENTS) + " A saved one is given as the path of the folder that it was saved to."
    )
