"""An action is one of a short menu of moves, and the observation a vector of features: for classical RL."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import index
from typing import Any, SupportsInt, cast
from zlib import crc32

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from PIL import Image

from mmsearch_env.dialects.tags import GIVE_UP
from mmsearch_env.env import MMSearchEnv, Observation
from mmsearch_env.errors import ActionError
from mmsearch_env.reading.cues import search_words
from mmsearch_env.reading.expressions import referring_expressions
from mmsearch_env.reading.reader import Reading, pointers, read
from mmsearch_env.reading.results import identify, read_results
from mmsearch_env.records import Answer, Move, ToolCall

Features = npt.NDArray[np.float32]

_QUESTION_BUCKETS = 32
_PICTURE_CELLS = 4
_MENU_HEAD = ("answer", "text_search", "follow_up", "image_search")


@dataclass(slots=True)
class _Notes:
    """What has been seen so far in an episode."""

    question: str
    expressions: list[str]
    picture: Features
    words: Features
    subject: str | None = None
    passages: list[str] = field(default_factory=list)
    reading: Reading = field(default_factory=lambda: Reading(None, 0.0))
    follow_up: str | None = None
    counts: dict[str, int] = field(default_factory=lambda: {"text_search": 0, "image_search": 0})
    last_error: bool = False
    last_hits: int = 0
    used: float = 0.0


class MacroActions(gym.Wrapper[Features, np.int64, Observation, SupportsInt], gym.utils.RecordConstructorArgs):
    """Choose from a menu; each entry is a whole turn that the wrapper words and steps token by token.

    The menu, `Discrete(5 + crops)` (`menu` has the names):

    * `answer`: with what the reader finds in the pages seen so far, or the give-up sentence if it finds nothing;
    * `text_search`: for the name found by an image search and the question's own words;
    * `follow_up`: search for the page that the pages seen so far point to;
    * `image_search`: of the whole picture;
    * `crop_0`, …: image search of the question's first, second, … referring expression;
    * `give_up`: the give-up sentence.

    The observation is a Box, float32 in [0, 1]: the question as hashed words, the picture as a 4 x 4 colour layout, and
    what has happened so far (searches, results, whether a name and an answer were found and how well it is supported).
    A move that the dialect cannot word, or that has nothing to work on, still costs its turn.
    """

    def __init__(self, env: gym.Env[Any, Any], *, crops: int = 2) -> None:
        """Wrap an `MMSearchEnv`.

        Args:
            env: the environment.
            crops: how many referring expressions of a question have an entry of their own.
        """
        gym.utils.RecordConstructorArgs.__init__(self, crops=crops)
        super().__init__(env)
        self._inner = cast("gym.Env[Observation, SupportsInt]", env)
        self._stage = cast(MMSearchEnv, env.unwrapped).stage
        self.menu = (*_MENU_HEAD, *(f"crop_{index}" for index in range(crops)), "give_up")
        self.action_space = spaces.Discrete(len(self.menu))
        self._notes = _Notes("", [], np.zeros(0, np.float32), np.zeros(0, np.float32))
        size = _QUESTION_BUCKETS + 3 * _PICTURE_CELLS**2 + len(self._state())
        self.observation_space = spaces.Box(0.0, 1.0, (size,), np.float32)

    def reset(self, **kwargs: Any) -> tuple[Features, dict[str, Any]]:
        """Begin an episode; see `MMSearchEnv.reset`."""
        observation, info = self._inner.reset(**kwargs)
        question = info["question"]
        self._notes = _Notes(
            question, referring_expressions(question), _colours(observation["image"]), _hashed_words(question)
        )
        return self._features(), info

    def step(self, action: np.int64) -> tuple[Features, float, bool, bool, dict[str, Any]]:
        """Take the turn that the menu's entry stands for.

        Raises:
            ActionError: if there is no such entry.
        """
        try:
            entry = index(action)  # what a policy predicts may be an array of no dimension
        except TypeError:
            entry = -1
        if not 0 <= entry < len(self.menu):
            raise ActionError(f"Expected an entry of the menu in [0, {len(self.menu)}), got {action!r}.")
        codec = self._stage.codec
        for token_id in [*codec.encode_move(self._words(self.menu[entry])), codec.end_of_turn_id]:
            observation, reward, terminated, truncated, info = self._inner.step(token_id)
            if terminated or truncated:
                break
        if "turn" in info:
            self._note(info["turn"], observation)
        return self._features(), float(reward), terminated, truncated, info

    def _words(self, entry: str) -> str:
        """Word the turn of a menu entry; one that cannot be worded is said as it is, and so malformed."""
        try:
            return self._stage.rules.dialect.render(self._move(entry), f"I choose {entry}.")
        except ActionError:
            return f"I choose {entry}."

    def _move(self, entry: str) -> Move:
        notes = self._notes
        if entry == "answer":
            return Answer(notes.reading.answer or GIVE_UP)
        if entry == "give_up":
            return Answer(GIVE_UP)
        if entry == "text_search":
            return ToolCall("text_search", {"query": self._query()})
        if entry == "follow_up":
            return ToolCall("text_search", {"query": notes.follow_up or self._query()})
        index = int(entry.removeprefix("crop_")) if entry.startswith("crop_") else len(notes.expressions)
        if index < len(notes.expressions):
            return ToolCall("image_search", {"expression": notes.expressions[index]})
        return ToolCall("image_search")

    def _query(self) -> str:
        """Ask about the name that was found, without the words that point at the picture."""
        notes = self._notes
        plain = notes.question.rstrip("?.! ")
        if notes.subject is None:
            return plain
        for expression in notes.expressions:
            at = plain.lower().find(expression)
            if at >= 0:
                plain = plain[:at] + plain[at + len(expression) :]
        return search_words(plain, notes.subject)

    def _note(self, turn: dict[str, Any], observation: Observation) -> None:
        notes = self._notes
        length = int(observation["length"][0])
        notes.used = length / self._stage.rules.max_tokens
        notes.last_error = turn["error"] is not None
        notes.last_hits = len(turn["hits"])
        if turn["kind"] not in notes.counts:
            return
        notes.counts[turn["kind"]] += 1
        told = self._stage.codec.decode(observation["tokens"][length - turn["appended"] : length])
        results = read_results(told)
        if turn["kind"] == "image_search" and results:
            notes.subject = identify(results)
        notes.passages += [f"{result.title}: {result.text}" for result in results]
        titles = pointers(notes.passages)
        notes.reading = read(notes.question, notes.passages, subject=notes.subject, sought=titles)
        asked = notes.follow_up
        notes.follow_up = next((title for title in reversed(titles) if title != asked), None)

    def _state(self) -> list[float]:
        notes = self._notes
        return [
            min(notes.counts["text_search"] / 4, 1.0),
            min(notes.counts["image_search"] / 2, 1.0),
            float(notes.subject is not None),
            float(notes.reading.answer is not None),
            notes.reading.support,
            float(notes.follow_up is not None),
            float(notes.last_error),
            min(notes.last_hits / 5, 1.0),
            min(len(notes.expressions) / 2, 1.0),
            min(notes.used, 1.0),
        ]

    def _features(self) -> Features:
        state = np.asarray(self._state(), np.float32)
        return np.concatenate([self._notes.words, self._notes.picture, state])


def _hashed_words(question: str) -> Features:
    """Count the question's words in buckets by a stable hash, in [0, 1], float32 (32,)."""
    counts = np.zeros(_QUESTION_BUCKETS, np.float32)
    for word in question.lower().split():
        counts[crc32(word.strip("?.,!\"'").encode()) % _QUESTION_BUCKETS] += 0.25
    return np.minimum(counts, 1.0)


def _colours(image: npt.NDArray[Any]) -> Features:
    """Average the picture's colours over a 4 x 4 grid, in [0, 1], float32 (48,)."""
    cells = Image.fromarray(image).resize((_PICTURE_CELLS, _PICTURE_CELLS), Image.Resampling.BOX)
    return np.asarray(cells, np.float32).ravel() / np.float32(255)
