"""The oracle's dialogues on atlas train as templates, and batches of them under new names."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from mmsearch_agents.policy import Sample
from mmsearch_agents.scripted import ScriptedLearner
from mmsearch_agents.scripted.dialogue import Dialogue as Told
from mmsearch_agents.scripted.oracle import Oracle
from mmsearch_agents.sources import play
from mmsearch_env.codec import BUILTIN
from mmsearch_env.records import Pixels
from mmsearch_env.stage import Stage
from mmsearch_env.trajectory import Trajectory
from mmsearch_env.vector import MMSearchVectorEnv
from modelgen.names import Cutter, Template, Vocabulary, invent_all

ENVIRONMENT: dict[str, Any] = {"world": "atlas", "prompts": "short", "top_k": 2, "max_tokens": 1024}
"""How the environments of the tiny policies are made: short prompts and few results, since every token costs time."""

_BEFORE, _AFTER = "<information>\n", "</information>"
_TOOL_TURN = re.compile(rf"\n<\|im_start\|>user\n{_BEFORE}(.*){_AFTER}<\|im_end\|>\n.*", re.DOTALL)
_OPENED = re.compile(r"<(?:text_search|img_search|answer)>([^\s<][^<]*)")
_RESULT = re.compile(r"(\d+\. )(.*)")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"\w{3,}|\d+")


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One dialogue, cut into question, policy turns and tool answers in turn.

    Attributes:
        template: of the texts: question, then policy turn, tool answer, policy turn, ….
        picture: uint8 (height, width, 3), as the policy sees it.
        needs_search: whether tools were used.
    """

    template: Template
    picture: Pixels
    needs_search: bool


def copied(turn: str, dialogue: Told) -> str:
    """Write a turn so that what it copies has the ids that it has where it stands in the dialogue."""
    told = "".join(exchange.told for exchange in dialogue.exchanges)
    return spaced(turn, f"{dialogue.question} {told}")


def spaced(turn: str, told: str = "") -> str:
    """Put a space behind an opening tag, as the grammar allows; not where what follows is `told` with none before it.

    A word and the space before it are one id: without the space, it would be another word that is copied.
    """
    opened = _OPENED.search(turn)
    if opened is None:
        return turn
    words = opened.group(1)
    if words in told and f" {words}" not in told:
        return turn
    return f"{turn[: opened.start(1)]} {turn[opened.start(1) :]}"


def teacher_episodes(split: str, tasks: int | None = None) -> tuple[list[Trajectory], Stage]:
    """Let the oracle play a split, or so many of its tasks; return the right episodes, and the stage."""
    envs = MMSearchVectorEnv(num_envs=16, split=split, autoreset_mode=AutoresetMode.DISABLED, **ENVIRONMENT)
    stage = envs.stage
    teacher = ScriptedLearner(Oracle(stage.world), stage.codec, stage.rules.dialect, reword=copied)
    ids = [task.id for task in stage.tasks[:tasks]]
    played = dict(play(teacher, envs, ids))
    ordered = [played[position] for position in range(len(ids))]
    right = [episode for episode in ordered if episode.reward_terms.get("correct") == 1.0]
    return [episode for episode in right if is_founded(episode, stage)], stage


def is_founded(trajectory: Trajectory, stage: Stage) -> bool:
    """Say whether the answer can be read: it stands in a result that is about what the last query asked for.

    The oracle knows its answers; with few results it may be right where the page it needed was not among them.
    Comparisons weigh two numbers and pass, as do tasks without a search.
    """
    if not trajectory.task.needs_search or trajectory.task.category == "comparison":
        return True
    told = stage.codec.decode(trajectory.token_ids).split(_BEFORE)[-1].split(_AFTER)[0]
    queries = re.findall(r"<text_search>(.*?)</text_search>", "".join(turn.text for turn in trajectory.turns))
    subjects = [word for word in re.findall(r"\w+", queries[-1]) if word[0].isupper()] if queries else []
    answer = str(trajectory.answer).casefold()
    return any(
        answer in line.casefold() and (not subjects or any(word in line for word in subjects))
        for line in told.splitlines()
    )


def cut(trajectory: Trajectory, stage: Stage, cutter: Cutter) -> Dialogue:
    """Cut one trajectory into a template."""
    picture = stage.view(trajectory.task)
    texts = [trajectory.task.question]
    for turn in trajectory.turns:
        texts.append(turn.text)
        if turn.appended:
            appended = stage.codec.decode(trajectory.token_ids[turn.end : turn.end + turn.appended])
            match = _TOOL_TURN.fullmatch(appended)
            if match is None:
                raise ValueError(f"Expected a tool turn of the dialect deepmmsearch_r1, got {appended!r}.")
            texts.append(match.group(1))
    if not trajectory.task.needs_search:
        return Dialogue(Template(tuple((text,) for text in texts), ()), picture, False)
    ordered = trajectory.task.category == "comparison"
    # Only the answer as it was given: an alias that holds it ("5 km" beside "5") would become another slot.
    answers = [trajectory.answer] if trajectory.answer else []
    return Dialogue(cutter.cut(texts, answers, ordered=ordered), picture, True)


class Encoder:
    """Encodes dialogues exactly as the environment lays them out."""

    def __init__(self, stage: Stage) -> None:
        """Take codec and dialect from the environment's stage."""
        self._codec, self._dialect = stage.codec, stage.rules.dialect
        self._vocabulary = Vocabulary.of(json.loads(BUILTIN.read_text(encoding="utf-8"))["model"]["vocab"])

    def sample(self, dialogue: Dialogue, rng: np.random.Generator, *, thin: float, keep: float) -> Sample:
        """Encode `dialogue` under new names.

        Args:
            dialogue: what to encode.
            rng: chooses names and sentences.
            thin: the share of sentences from which nothing was read that are left out of tool answers. Comparisons stay
                whole: their figures are in neither queries nor answer.
            keep: the probability that a name stays as it is.
        """
        template, codec = dialogue.template, self._codec
        texts = template.fill(invent_all(template, self._vocabulary, rng, keep))
        ids = codec.prompt_ids(self._dialect.system, self._dialect.prompt("short"), texts[0])
        policy = [False] * len(ids)
        for number, text in enumerate(texts[1:], start=1):
            if number % 2:
                fresh = [*codec.encode_move(text), codec.end_of_turn_id]
            else:
                if thin > 0 and not template.ordered:
                    text = _thinned(text, texts[number + 1], texts[-1], thin, rng)
                told = codec.tool_turn_ids(_BEFORE, (text,), _AFTER, budget=sys.maxsize)
                fresh = told[0] if told is not None else []
            ids += fresh
            policy += [bool(number % 2)] * len(fresh)
        return Sample(np.array(ids, np.int64), np.array(policy), (dialogue.picture,))


def _thinned(text: str, following: str, last: str, thin: float, rng: np.random.Generator) -> str:
    """Leave out some sentences that neither the next turn nor the answer can have been read from."""
    answer = re.sub(r".*<answer> ?|</answer>", "", last, flags=re.DOTALL)
    needed = set(_WORD.findall(f"{following} {answer}"))
    lines = []
    for line in text.splitlines():
        numbered = _RESULT.fullmatch(line)
        number, words = numbered.groups() if numbered else ("", line)
        kept = [
            sentence
            for index, sentence in enumerate(_SENTENCE.split(words))
            if index == 0 or answer in sentence or needed & set(_WORD.findall(sentence)) or rng.random() >= thin
        ]
        lines.append(number + " ".join(kept) + "\n")
    return "".join(lines)


def endless(dialogues: list[Dialogue], search_share: float, rng: np.random.Generator) -> Iterator[Dialogue]:
    """Yield dialogues for ever, so many of them with searches."""
    searched = [dialogue for dialogue in dialogues if dialogue.needs_search]
    others = [dialogue for dialogue in dialogues if not dialogue.needs_search]
    while True:
        pool = searched if rng.random() < search_share else others
        yield pool[int(rng.integers(len(pool)))]
