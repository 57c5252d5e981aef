"""Rewards made of terms: the published ones by name, and `Composite` for one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mmsearch_env.errors import ConfigurationError, unknown
from mmsearch_env.rewards.judges import get_judge
from mmsearch_env.rewards.reward import Finished, Judge, Outcome, Reward
from mmsearch_env.rewards.terms import Correctness, Format, Term, count_calls

_DIGITS = 12  # so that 0.9 * 0.9 + 0.1 is 0.91, not 0.9100000000000001


@dataclass(slots=True)
class Composite:
    """The weighted sum of terms.

    Example:
        Composite("thrifty", [(0.9, Correctness()), (0.1, Format()), (-0.02, SearchCost())])

    Attributes:
        name: the reward's name.
        terms: pairs of weight and term; `Outcome.terms` has the values in this order, before the weights.
    """

    name: str
    terms: Sequence[tuple[float, Term]]

    def __post_init__(self) -> None:
        """Refuse no terms, and two of one name.

        Raises:
            ConfigurationError: if there are no terms, or two have the same name.
        """
        self.terms = tuple((float(weight), term) for weight, term in self.terms)
        names = [term.name for _, term in self.terms]
        if not names or len(set(names)) != len(names):
            raise ConfigurationError(f"Expected one or more terms with different names, got {names}.")

    def __call__(self, finished: Finished) -> Outcome:
        """Return the weighted sum and the terms' values.

        Raises:
            BackendError: if a judge fails.
        """
        values = {term.name: float(term(finished)) for _, term in self.terms}
        reward = sum(weight * values[term.name] for weight, term in self.terms)
        return Outcome(round(reward, _DIGITS), values)


@dataclass(slots=True, kw_only=True)
class MMSearchR1Reward:
    """The reward of MMSearch-R1 (arXiv 2506.20670): a correct answer counts less if it was searched for.

    `(1 - format_weight) * correct * (1 - search_penalty) ** searches + format_weight * format`, where `searches` is 1
    for any number of tool calls, or their number with `per_search`.

    Attributes:
        judge: decides whether the answer is right; exact match in the published default.
        search_penalty: the share of a correct answer's score that searching costs.
        per_search: whether each tool call costs it again.
        format_weight: the weight of the format term.
    """

    judge: Judge = field(default_factory=lambda: get_judge("exact"))
    search_penalty: float = 0.1
    per_search: bool = False
    format_weight: float = 0.1
    name: str = "mmsearch_r1"

    def __call__(self, finished: Finished) -> Outcome:
        """Return the reward, and the terms `correct`, `format` and `searched` (0 or 1, or the count of calls).

        Raises:
            BackendError: if the judge fails.
        """
        correct, form = Correctness(self.judge)(finished), Format()(finished)
        searches = count_calls(finished) if self.per_search else min(count_calls(finished), 1)
        score = correct * (1 - self.search_penalty) ** searches
        reward = (1 - self.format_weight) * score + self.format_weight * form
        return Outcome(round(reward, _DIGITS), {"correct": correct, "format": form, "searched": float(searches)})


def _deepmmsearch_r1(judge: Judge | None) -> Reward:
    return Composite("deepmmsearch_r1", [(0.9, Correctness(judge or get_judge("rules"))), (0.1, Format())])


def _mmsearch_r1(judge: Judge | None) -> Reward:
    return MMSearchR1Reward(judge=judge or get_judge("exact"))


def _search_r1(judge: Judge | None) -> Reward:
    return Composite("search_r1", [(1.0, Correctness(judge or get_judge("exact")))])


_PRESETS: Mapping[str, Callable[[Judge | None], Reward]] = {
    "deepmmsearch_r1": _deepmmsearch_r1,
    "mmsearch_r1": _mmsearch_r1,
    "search_r1": _search_r1,
}


def get_reward(reward: str | Reward = "deepmmsearch_r1", *, judge: str | Judge | None = None) -> Reward:
    """Return the reward of that name, or the reward itself.

    Args:
        reward: `deepmmsearch_r1` (0.9 correct + 0.1 format), `mmsearch_r1` (the same, but a correct answer that was
            searched for counts 0.9), `search_r1` (correct), or a reward of your own.
        judge: who decides what is correct; None for the preset's own: `rules` for `deepmmsearch_r1`, whose
            authors ask a language model, `exact` for the others, as published. A reward of your own keeps its judge.

    Raises:
        ConfigurationError: if there is no such reward or judge.
    """
    if not isinstance(reward, str):
        if not callable(reward) or not hasattr(reward, "name"):
            raise ConfigurationError(
                f"Expected a reward's name, or a callable with a `name` that returns an Outcome, got {reward!r}. "
                "See mmsearch_env.rewards.Reward and Composite."
            )
        return reward
    if reward not in _PRESETS:
        raise ConfigurationError(unknown("reward", reward, _PRESETS))
    return _PRESETS[reward](None if judge is None else get_judge(judge))
