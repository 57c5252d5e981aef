"""What every judge and every reward keeps to; a new one is added to a list."""

import math
import pickle

import pytest

from mmsearch_env.records import Task, Turn
from mmsearch_env.rewards import (
    ChainJudge,
    Composite,
    Correctness,
    ExactJudge,
    Finished,
    Format,
    MalformedTurns,
    RetrievalHit,
    RulesJudge,
    SearchCost,
    Term,
    get_reward,
)

EVERYTHING: list[tuple[float, Term]] = [(1, Correctness()), (0.1, Format()), (-0.1, SearchCost())]
EVERYTHING += [(0.2, RetrievalHit()), (-1, MalformedTurns())]
JUDGES = [ExactJudge(), ExactJudge(keep_figures=True), RulesJudge(), ChainJudge((ExactJudge(), RulesJudge()))]
REWARDS = [
    get_reward("deepmmsearch_r1"),
    get_reward("mmsearch_r1"),
    get_reward("search_r1"),
    Composite("everything", EVERYTHING),
]

TASK = Task(
    id="t",
    image="0" * 64,
    question="How long is it?",
    answers=("3 km", "three kilometres"),
    needs_search=True,
    category="one_hop",
    domain="flags",
    split="test",
)
EPISODES = [
    Finished(task=TASK, turns=(), answer=None, follows_format=False),
    Finished(task=TASK, turns=(), answer="3 km", follows_format=True),
    Finished(
        task=TASK,
        turns=(Turn(kind="text_search", text="", start=0, end=1), Turn(kind="malformed", text="", start=1, end=2)),
        answer="4 km",
        follows_format=False,
    ),
]


@pytest.mark.parametrize("judge", JUDGES, ids=repr)
class TestJudge:
    def test_an_accepted_answer_is_correct(self, judge):
        assert all(judge.judge(TASK.question, TASK.answers, answer).correct for answer in TASK.answers)

    def test_a_wrong_or_empty_answer_is_not(self, judge):
        for candidate in ("4 km", "", " ", "…"):
            verdict = judge.judge(TASK.question, TASK.answers, candidate)
            assert verdict.correct is False
            assert verdict.method

    def test_without_accepted_answers_nothing_is_correct(self, judge):
        assert not judge.judge(TASK.question, (), "3 km").correct

    def test_it_repeats_itself_and_survives_pickling(self, judge):
        copied = pickle.loads(pickle.dumps(judge))
        for candidate in ("3 km", "3000 m", "2 km"):
            verdict = judge.judge(TASK.question, TASK.answers, candidate)
            assert verdict == judge.judge(TASK.question, TASK.answers, candidate)
            assert verdict == copied.judge(TASK.question, TASK.answers, candidate)


@pytest.mark.parametrize("reward", REWARDS, ids=lambda reward: reward.name)
class TestReward:
    def test_it_gives_finite_floats_under_stable_names(self, reward):
        outcomes = [reward(episode) for episode in EPISODES]
        for outcome in outcomes:
            assert isinstance(outcome.reward, float)
            assert all(isinstance(value, float) and math.isfinite(value) for value in outcome.terms.values())
            assert list(outcome.terms) == list(outcomes[0].terms)

    def test_a_right_answer_in_format_earns_more_than_none(self, reward):
        assert reward(EPISODES[1]).reward > reward(EPISODES[0]).reward

    def test_it_repeats_itself_and_survives_pickling(self, reward):
        copied = pickle.loads(pickle.dumps(reward))
        for episode in EPISODES:
            assert reward(episode) == reward(episode) == copied(episode)
