"""Demonstrations of mixed behaviour: a teacher that knows how to search, and often cannot be bothered to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from mmsearch_agents.scripted import ScriptedLearner
from mmsearch_agents.scripted.dialogue import Dialogue
from mmsearch_agents.scripted.oracle import Oracle
from mmsearch_agents.sources import play
from mmsearch_env.dialects.tags import GIVE_UP
from mmsearch_env.records import Answer, Move, ToolCall
from mmsearch_env.stage import Stage
from mmsearch_env.trajectory import Trajectory
from mmsearch_env.vector import MMSearchVectorEnv
from mmsearch_env.worlds import World
from modelgen.dialogues import ENVIRONMENT, copied

NOT_STATED = "The results do not state it."


@dataclass(frozen=True, kw_only=True)
class Habits:
    """How often the teacher takes the poorer choice, wherever it has one.

    Attributes:
        whole: it searches with the whole picture and not with what the question is about.
        vague: it asks for the name alone and not for what it wants to know.
        stop: it gives up where one more query would have been needed.
        needless: it searches although the picture shows the answer,
        distracted: and then gives up, since no result states it.
    """

    whole: float = 0.6
    vague: float = 0.3
    stop: float = 0.4
    needless: float = 0.6
    distracted: float = 0.5


class Wavering:
    """The oracle with bad habits.

    Each choice is drawn from the seed and the dialogue so far, so the same seed demonstrates the same. Where a poorer
    choice leads to results that do not state the next thing that the plan needs, it gives up, as the oracle does.
    """

    def __init__(self, world: World, habits: Habits, seed: int) -> None:
        """Follow the plans of `world`'s tasks as far as `habits` let it."""
        self._oracle = Oracle(world)
        self._habits = habits
        self._seed = seed

    def decide(self, dialogue: Dialogue) -> tuple[str, Move]:
        """Take the plan's next step, or a poorer one, or answer."""
        rng = np.random.default_rng([self._seed, len(dialogue.exchanges), *dialogue.context.tolist()])
        needless, whole, vague, stop = (
            rng.random() < share
            for share in (self._habits.needless, self._habits.whole, self._habits.vague, self._habits.stop)
        )
        reason, move = self._oracle.decide(dialogue)
        begun = len(dialogue.exchanges)
        if begun == 0:
            if isinstance(move, Answer):
                return ("I look at the whole picture.", ToolCall("image_search")) if needless else (reason, move)
            if whole and move.name == "image_search":
                return "I look at the whole picture.", ToolCall("image_search")
            return reason, move
        if isinstance(move, Answer):
            told = "<img_search>" in dialogue.exchanges[0].said and reason.startswith("The picture")
            distracted = told and rng.random() < self._habits.distracted
            return (NOT_STATED, Answer(GIVE_UP)) if distracted else (reason, move)
        query = str(move.arguments.get("query", ""))
        names = _names(query)
        told_so_far = " ".join(exchange.told for exchange in dialogue.exchanges) + " " + dialogue.question
        if any(name not in told_so_far for name in names) or (begun > 1 and stop):
            return NOT_STATED, Answer(GIVE_UP)
        if vague and names and not query.startswith(dialogue.question):
            return f"I need to know: {names[0]}.", ToolCall("text_search", {"query": names[0]})
        return reason, move

    def to_json(self) -> dict[str, Any]:
        """Return what describes the strategy."""
        return {"name": "wavering", "habits": asdict(self._habits), "seed": self._seed}


def _names(query: str) -> list[str]:
    """Return the runs of capitalised words at the beginning or in the middle of a query."""
    return re.findall(r"[A-Z][\w'’.-]*(?:\s+(?:(?:of|the|and|de|la)\s+)*[A-Z][\w'’.-]*)*", query)


def demonstrate(
    split: str, habits: Habits, *, seed: int, tasks: int | None = None, env: Mapping[str, Any] = ENVIRONMENT
) -> tuple[list[Trajectory], Stage]:
    """Let the wavering teacher play a split once; return the episodes and their stage.

    Args:
        split: which tasks.
        habits: of the teacher.
        seed: of its choices; another seed, other demonstrations of the same tasks.
        tasks: how many of them; None for all.
        env: options of the environment.
    """
    envs = MMSearchVectorEnv(num_envs=16, split=split, autoreset_mode=AutoresetMode.DISABLED, **env)
    stage = envs.stage
    wavering = Wavering(stage.world, habits, seed)
    teacher = ScriptedLearner(wavering, stage.codec, stage.rules.dialect, reword=copied)
    ids = [task.id for task in stage.tasks[:tasks]]
    played = dict(play(teacher, envs, ids))
    return [played[position] for position in range(len(ids))], stage
