import itertools

import pytest

from mmsearch_env.errors import BackendError, ConfigurationError
from mmsearch_env.records import Task, Turn
from mmsearch_env.rewards import (
    Composite,
    Correctness,
    Finished,
    Format,
    MalformedTurns,
    MMSearchR1Reward,
    Outcome,
    RetrievalHit,
    SearchCost,
    Verdict,
    get_reward,
)

TASK = Task(
    id="t1",
    image="0" * 64,
    question="What is the capital?",
    answers=("Oslo",),
    needs_search=True,
    category="one_hop",
    domain="flags",
    split="test",
    metadata={"evidence": ["doc-oslo"]},
)
TEXT = Turn(kind="text_search", text="…", start=0, end=1, arguments={"query": "capital"}, hits=("doc-oslo", "doc-2"))
WHOLE = Turn(kind="image_search", text="…", start=1, end=2)
CROP = Turn(kind="image_search", text="…", start=2, end=3, arguments={"expression": "the red flag"})
REFUSED = Turn(kind="image_search", text="…", start=3, end=4, error="Only one image search is allowed.")
MALFORMED = Turn(kind="malformed", text="<answer>Oslo</answer>", start=4, end=5, error="no <reason>")


def finished(answer="Oslo", turns=(), follows_format=True, task=TASK):
    return Finished(task=task, turns=turns, answer=answer, follows_format=follows_format)


@pytest.mark.parametrize(
    ("answer", "follows_format", "reward"),
    [("Oslo", True, 1.0), ("Oslo", False, 0.9), ("Bergen", True, 0.1), ("Bergen", False, 0.0)],
)
@pytest.mark.parametrize("turns", [(), (TEXT, CROP)])
def test_deepmmsearch_r1_has_no_search_penalty(answer, follows_format, reward, turns):
    outcome = get_reward("deepmmsearch_r1")(finished(answer, turns, follows_format))
    assert outcome == Outcome(reward, {"correct": float(answer == "Oslo"), "format": float(follows_format)})


@pytest.mark.parametrize(
    ("answer", "follows_format", "turns", "reward"),
    [
        ("Oslo", True, (), 1.0),
        ("Oslo", False, (), 0.9),
        ("Oslo", True, (TEXT,), 0.91),
        ("Oslo", True, (WHOLE, TEXT), 0.91),
        ("Oslo", False, (TEXT,), 0.81),
        ("Bergen", True, (TEXT,), 0.1),
        ("Bergen", False, (TEXT,), 0.0),
        ("Bergen", True, (), 0.1),
    ],
)
def test_mmsearch_r1_charges_correct_answers_for_searching(answer, follows_format, turns, reward):
    outcome = get_reward("mmsearch_r1")(finished(answer, turns, follows_format))
    assert outcome.reward == reward
    assert list(outcome.terms) == ["correct", "format", "searched"]


def test_mmsearch_r1_can_charge_for_every_search():
    outcome = MMSearchR1Reward(per_search=True)(finished(turns=(WHOLE, TEXT)))
    assert outcome.reward == pytest.approx(0.9 * 0.81 + 0.1)


def test_search_r1_is_exact_match_alone():
    reward = get_reward("search_r1")
    assert reward(finished("The Oslo.", follows_format=False)) == Outcome(1.0, {"correct": 1.0})
    assert reward(finished("It is Oslo")).reward == 0.0
    assert get_reward("search_r1", judge="rules")(finished("It is Oslo")).reward == 1.0


@pytest.mark.parametrize("name", ["deepmmsearch_r1", "mmsearch_r1", "search_r1"])
def test_no_answer_an_empty_one_and_giving_up_are_never_correct(name):
    give_up = "Unable to answer due to lack of relevant information"
    task = Task(
        id="t2",
        image="0" * 64,
        question="?",
        answers=(give_up, "", "a"),
        needs_search=True,
        category="one_hop",
        domain="flags",
        split="test",
    )
    for answer in (None, "", "  ", give_up, give_up + "."):
        assert get_reward(name)(finished(answer, task=task)).terms["correct"] == 0.0


def test_a_lenient_judge_is_not_asked_about_giving_up():
    class Lenient:
        def judge(self, question, answers, candidate):
            return Verdict(True, "lenient")

    term = Correctness(Lenient())
    assert term(finished("anything")) == 1.0
    assert term(finished("Unable to answer due to lack of information")) == 0.0


def test_a_failing_judge_never_scores_zero():
    class Failing:
        def judge(self, question, answers, candidate):
            raise TimeoutError("no reply")

    for name in ("deepmmsearch_r1", "mmsearch_r1", "search_r1"):
        with pytest.raises(BackendError, match="no reply"):
            get_reward(name, judge=Failing())(finished())


def test_only_the_parsed_answer_scores_not_the_text_of_a_turn():
    outcome = get_reward()(finished(None, (TEXT, MALFORMED), follows_format=False))
    assert outcome.reward == 0.0


def test_search_cost_prices_calls_by_kind_and_counts_refused_ones():
    term = SearchCost({"text_search": 0.5, "crop_search": 3.0})
    assert term(finished(turns=(TEXT, TEXT, WHOLE, CROP, REFUSED, MALFORMED))) == 0.5 + 0.5 + 1.0 + 3.0 + 1.0
    assert SearchCost()(finished()) == 0.0
    with pytest.raises(ConfigurationError, match="webcam"):
        SearchCost({"webcam": 1.0})


def test_retrieval_hit_looks_at_hits_of_all_turns():
    assert RetrievalHit()(finished(turns=(WHOLE, TEXT))) == 1.0
    assert RetrievalHit()(finished(turns=(WHOLE,))) == 0.0


def test_malformed_turns_are_counted():
    assert MalformedTurns()(finished(turns=(MALFORMED, TEXT, MALFORMED))) == 2.0


def test_a_composite_weighs_its_terms_and_reports_them_unweighted_in_order():
    thrifty = Composite("thrifty", [(-0.25, SearchCost()), (0.5, Format()), (0.5, Correctness())])
    outcome = thrifty(finished(turns=(TEXT, CROP)))
    assert outcome.reward == 0.5
    assert list(outcome.terms.items()) == [("search_cost", 2.0), ("format", 1.0), ("correct", 1.0)]


def test_a_composite_needs_terms_of_different_names():
    with pytest.raises(ConfigurationError, match="different names"):
        Composite("twice", [(1.0, Format()), (1.0, Format())])
    with pytest.raises(ConfigurationError, match="one or more"):
        Composite("empty", [])


def test_all_values_of_the_published_rewards_are_reached_and_no_others():
    cases = itertools.product(("Oslo", "Bergen", None), ((), (TEXT,), (CROP, TEXT)), (True, False))
    episodes = [finished(*case) for case in cases]
    published = {
        "deepmmsearch_r1": {0.0, 0.1, 0.9, 1.0},
        "mmsearch_r1": {0.0, 0.1, 0.81, 0.9, 0.91, 1.0},
        "search_r1": {0.0, 1.0},
    }
    assert {name: {get_reward(name)(episode).reward for episode in episodes} for name in published} == published


def test_unknown_rewards_are_refused_with_a_suggestion():
    with pytest.raises(ConfigurationError, match="Did you mean 'mmsearch_r1'"):
        get_reward("mmsearchr1")
    with pytest.raises(ConfigurationError, match="callable"):
        get_reward(3)  # type: ignore[arg-type]


def test_a_reward_of_ones_own_is_taken_as_it_is():
    own = Composite("own", [(1.0, Format())])
    assert get_reward(own) is own
