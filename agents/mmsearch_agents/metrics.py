"""What an evaluation measures: one score per episode, and the means of scores over all episodes and parts of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmsearch_env.dialects.dialect import Dialect
from mmsearch_env.records import Task
from mmsearch_env.rewards import get_judge
from mmsearch_env.rewards.answers import exact_match, f1
from mmsearch_env.rewards.reward import Finished, Judge
from mmsearch_env.rewards.terms import Correctness
from mmsearch_env.trajectory import Trajectory

SEARCH_KINDS = ("text", "image", "crop")
"""The kinds of searches counted: by text, by the whole picture, by a region of it."""

_Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution
_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one episode achieved.

    Attributes:
        task: what was asked.
        correct: whether the judge found the answer right.
        em: exact match after SQuAD normalisation.
        f1: token overlap with the closest accepted answer, in [0, 1].
        reward: the episode's return.
        searches: tool calls by kind, see `SEARCH_KINDS`.
        follows_format: whether the episode kept the dialect's format rule.
        tokens: how many ids the policy sampled.
    """

    task: Task
    correct: bool
    em: bool
    f1: float
    reward: float
    searches: Mapping[str, int]
    follows_format: bool
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Means over episodes.

    Attributes:
        episodes: how many there are.
        accuracy: the share of right answers.
        accuracy_ci95: its 95 % interval (Wilson, 1927), low and high.
        em: the share of exact matches.
        f1: mean token overlap.
        reward: mean return.
        searches: mean tool calls per episode, by kind.
        format_rate: the share of episodes that kept the format rule.
        tokens: mean number of ids that the policy sampled.
    """

    episodes: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    em: float
    f1: float
    reward: float
    searches: Mapping[str, float]
    format_rate: float
    tokens: float

    def to_row(self) -> dict[str, Any]:
        """Return the measures as plain JSON values."""
        return {
            "episodes": self.episodes,
            "accuracy": self.accuracy,
            "accuracy_ci95": list(self.accuracy_ci95),
            "em": self.em,
            "f1": self.f1,
            "reward": self.reward,
            "searches": dict(self.searches),
            "format_rate": self.format_rate,
            "tokens": self.tokens,
        }


def is_fault(trajectory: Trajectory) -> bool:
    """Say whether the world failed in this episode, so that it says nothing about the policy."""
    return (trajectory.cause or "").startswith("fault:")


def score(trajectory: Trajectory, dialect: Dialect, judge: str | Judge = "rules") -> Score:
    """Score one episode.

    Args:
        trajectory: the episode.
        dialect: the dialect it was played in, for its format rule.
        judge: decides on the answer where the episode's reward has no term `correct`.

    Raises:
        BackendError: if the judge fails.
    """
    task, answer = trajectory.task, trajectory.answer or ""
    follows_format = dialect.follows_format(trajectory.turns)
    correct = trajectory.reward_terms.get("correct")
    if correct is None:
        finished = Finished(task=task, turns=trajectory.turns, answer=trajectory.answer, follows_format=follows_format)
        correct = Correctness(get_judge(judge))(finished)
    return Score(
        task=task,
        correct=correct > 0.5,
        em=trajectory.answer is not None and exact_match(answer, task.answers),
        f1=f1(answer, task.answers),
        reward=trajectory.reward,
        searches=trajectory.searches(),
        follows_format=follows_format,
        tokens=int(trajectory.loss_mask.sum()),
    )


def measure(scores: Sequence[Score]) -> Measures:
    """Average the scores of one or more episodes.

    Raises:
        ValueError: if there are none.
    """
    if not scores:
        raise ValueError("Expected the scores of at least one episode, got none.")
    right = sum(score.correct for score in scores)
    return Measures(
        episodes=len(scores),
        accuracy=_mean(score.correct for score in scores),
        accuracy_ci95=wilson_interval(right, len(scores)),
        em=_mean(score.em for score in scores),
        f1=_mean(score.f1 for score in scores),
        reward=_mean(score.reward for score in scores),
        searches={kind: _mean(score.searches[kind] for score in scores) for kind in SEARCH_KINDS},
        format_rate=_mean(score.follows_format for score in scores),
        tokens=_mean(score.tokens for score in scores),
    )


def measure_by(scores: Sequence[Score]) -> dict[str, dict[str, Measures]]:
    """Average the scores over the parts of the tasks: `needs_search` ("true", "false"), `category` and `domain`."""
    keys: dict[str, Callable[[Task], str]] = {
        "needs_search": lambda task: "true" if task.needs_search else "false",
        "category": lambda task: task.category,
        "domain": lambda task: task.domain,
    }
    parts: dict[str, dict[str, Measures]] = {}
    for name, key in keys.items():
        groups: dict[str, list[Score]] = {}
        for one in scores:
            groups.setdefault(key(one.task), []).append(one)
        parts[name] = {value: measure(groups[value]) for value in sorted(groups)}
    return parts


def wilson_interval(right: int, episodes: int) -> tuple[float, float]:
    """Return the 95 % score interval (Wilson, 1927) of a share of `right` in `episodes`, within [0, 1]."""
    share, square = right / episodes, _Z95 * _Z95
    centre = share + square / (2 * episodes)
    spread = _Z95 * math.sqrt(share * (1 - share) / episodes + square / (4 * episodes * episodes))
    scale = 1 + square / episodes
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return round(max(low, 0.0), _DIGITS), round(min(high, 1.0), _DIGITS)


def _mean(values: Iterable[float]) -> float:
    numbers = [float(value) for value in values]
    # fsum is exact, so the mean does not depend on the order of the episodes.
    return round(math.fsum(numbers) / len(numbers), _DIGITS)
