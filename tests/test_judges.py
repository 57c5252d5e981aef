import copy
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mmsearch_env.errors import BackendError, ConfigurationError
from mmsearch_env.rewards.judges import ChainJudge, ExactJudge, RulesJudge, get_judge
from mmsearch_env.rewards.quantities import Quantity, Span, parse_quantity
from mmsearch_env.rewards.reward import Verdict
from mmsearch_env.rewards.units import UnitConverter, canonical_unit

QUESTION = "How many years did it take?"
JUDGE = get_judge("rules")


def is_right(candidate, *answers):
    return JUDGE.judge(QUESTION, answers, candidate).correct


@pytest.mark.parametrize(
    ("answer", "candidate"),
    [
        # wording
        ("Oslo", "oslo."),
        ("Oslo", "The capital is Oslo."),
        ("Oslo", "It's Oslo"),
        ("Oslo", "Answer: Oslo"),
        ("No", "The answer is no."),
        ("Vincent van Gogh", "van Gogh, Vincent"),
        ("Skidmore, Owings & Merrill", "Skidmore Owings and Merrill"),
        ("Tromsø", "Tromso"),
        ("U.S. dollar", "US dollar"),
        ("Guinea-Bissau", "Guinea Bissau"),
        ("10 May 1912", "May 10, 1912"),
        ("21st century", "the 21st century"),
        ("third", "3rd"),
        ("A", "a"),
        # numbers
        ("176.124", "176"),
        ("1200000", "1.2 × 10^6"),
        ("1200000", "1.2e6"),
        ("1,200,000", "1 200 000"),
        ("1.2 million", "1,200,000"),
        ("17098242", "17,098,200"),
        ("2", "two"),
        ("21", "twenty-one"),
        ("-5", "−5"),
        ("1887", "in 1887"),
        ("1887", "the year 1887"),
        ("2600 BC", "2600 BCE"),
        ("12", "10-15"),
        ("12 million", "10 to 15 million"),
        ("12 km", "between 10 and 15 km"),
        ("10-15 km", "10 to 15 km"),
        # units
        ("26", "26 years"),
        ("26 years", "26"),
        ("about 26 years", "26"),
        ("3 km", "3000 m"),
        ("3000 metres", "3 km"),
        ("28 metres", "92 ft"),
        ("28 metres", "28 m (92 ft)"),
        ("8,848.86 m", "8,849 metres above sea level"),
        ("5 km²", "5 square kilometres"),
        ("5 sq km", "500 ha"),
        ("17,098,242 sq km", "17.1 million km²"),
        ("20 °C", "68 °F"),
        ("-5 °C", "minus 5 degrees Celsius"),
        ("4.2 light-years", "4.2 light years"),
        ("8.6 light years", "2.64 parsecs"),
        ("656.3 nm", "6563 Å"),
        ("100 km/h", "62 mph"),
        ("5 g/cm³", "5 grams per cubic centimetre"),
        ("45 people per km²", "45 people per square kilometer"),
        ("50%", "50 percent"),
    ],
)
def test_what_a_person_would_accept_matches(answer, candidate):
    assert is_right(candidate, answer)


@pytest.mark.parametrize(
    ("answer", "candidate"),
    [
        # figures keep their sign, point and order
        ("52", "5.2"),
        ("5.2", "52"),
        ("0.5", "5"),
        ("-5", "5"),
        ("3-2", "2-3"),
        ("5²", "52"),
        ("1015", "10-15"),
        # exact: years, ordinals, counts
        ("1887", "1886"),
        ("1887", "1880-1890"),
        ("1887", "1,900"),
        ("2600 BC", "2600 AD"),
        ("3rd", "3"),
        ("101", "100"),
        # rounding and ranges have limits
        ("5.2 km", "5"),
        ("176.124", "180"),
        ("1.2 million", "1.2"),
        ("16", "10-15"),
        ("500", "0 to 1000000"),
        ("12 km", "15 to 10 km"),
        # units
        ("28 m", "28 km"),
        ("28 metres", "92 kg"),
        ("28 metres", "28 m (3 ft)"),
        ("3 km", "3 stars"),
        ("5 km²", "5 km"),
        # one short answer, not a list, a sentence, a negation or nothing
        ("Oslo", "Oslo or Bergen"),
        ("Oslo", "Oslo, Bergen"),
        ("Oslo", "Oslo Oslo"),
        ("Oslo", "not Oslo"),
        ("Oslo", "The capital is not Oslo"),
        ("Oslo", "It isn't Oslo"),
        ("Oslo", "The wrong answer is Oslo"),
        ("Oslo", "The capital is Bergen is Oslo"),
        ("Oslo", "Oslo is the capital"),
        ("5", "4, 5, 6"),
        ("5", "5 or 6"),
        ("1887", "1887 Oslo"),
        ("26", "26 Oslo"),
        ("A", "the"),
        ("A", ""),
        ("Oslo", "It is Oslo" + " " * 5000 + "."),
    ],
)
def test_what_a_person_would_refuse_does_not_match(answer, candidate):
    assert not is_right(candidate, answer)


def test_a_unit_named_by_another_answer_is_not_overruled_by_a_bare_number():
    assert not is_right("28 km", "28", "28 m")
    assert is_right("28", "28 m", "92 ft")
    assert is_right("92 feet", "28", "28 m")


def test_giving_up_matches_nothing_under_the_rules():
    give_up = "Unable to answer due to lack of relevant information"
    assert not RulesJudge().judge(QUESTION, [give_up], give_up).correct


WORDS = st.sampled_from(["Oslo", "Bergen", "Vincent", "Gogh", "river", "Lake", "Superior", "Elbert", "Danube"])
NAMES = st.lists(WORDS, min_size=1, max_size=5, unique=True)


@given(NAMES, st.randoms(use_true_random=False))
def test_a_name_matches_itself_in_any_case_order_and_with_articles(words, random):
    shuffled = list(words)
    random.shuffle(shuffled)
    assert is_right(" ".join(shuffled), " ".join(words))
    assert is_right("the " + " ".join(words).upper() + ".", " ".join(words))


@given(NAMES, WORDS, st.integers(0, 5))
def test_an_added_word_breaks_the_match(words, extra, position):
    assume(extra not in words)
    assert not is_right(" ".join([*words[:position], extra, *words[position:]]), " ".join(words))


@given(st.text(max_size=40))
def test_any_text_can_be_judged_and_a_text_with_letters_matches_itself(text):
    assert is_right(text, text) or not text.strip().isalpha()
    assert not is_right(text + " unrelated", text)


FACTORS = {"m": 1.0, "km": 1000.0, "ft": 0.3048, "miles": 1609.344}


@given(st.integers(1001, 10**7), st.sampled_from(sorted(FACTORS)), st.sampled_from(sorted(FACTORS)))
def test_a_length_matches_its_conversion_and_no_other(value, source, target):
    converted = value * FACTORS[source] / FACTORS[target]
    assert is_right(f"{converted:.9f} {target}", f"{value} {source}")
    assert not is_right(f"{converted * 1.05:.9f} {target}", f"{value} {source}")
    assert not is_right(f"{converted:.9f} kg", f"{value} {source}")


@given(st.integers(1, 10**9))
def test_thousands_separators_do_not_change_a_number(value):
    assert is_right(f"{value:,}", str(value))
    assert not is_right(f"{value:,}", str(value * 10))


def test_a_range_keeps_its_ends_and_shares_its_unit_and_scale():
    span = parse_quantity("10 to 15 million km")
    assert isinstance(span, Span)
    assert (span.low.value, span.high.value, span.low.unit) == (1e7, 1.5e7, "kilometer")


def test_scientific_notation_with_a_negative_power_is_no_range():
    quantity = parse_quantity("1.5e-6 m")
    assert isinstance(quantity, Quantity)
    assert quantity.value == pytest.approx(1.5e-6)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("km²", "kilometer ** 2"),
        ("sq. mi", "mile ** 2"),
        ("cubic metres", "meter ** 3"),
        ("m/s", "meter / second"),
        ("m", "meter"),
        ("M", "m"),
        ("Stars", "star"),
        ("or 6", None),
    ],
)
def test_units_have_one_spelling(text, unit):
    assert canonical_unit(text) == unit


def test_equal_units_never_load_pint():
    code = (
        "import sys; from mmsearch_env.rewards import get_judge; "
        "assert get_judge().judge('', ['3 km'], '3 kilometres').correct; assert 'pint' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_registry_stays_behind_when_a_judge_travels():
    units = UnitConverter()
    assert units.convert(1.0, "mile", "meter") == pytest.approx(1609.344)
    for copied in (pickle.loads(pickle.dumps(units)), copy.deepcopy(units)):
        assert copied.convert(1.0, "mile", "meter") == pytest.approx(1609.344)


def test_one_judge_serves_many_threads():
    judge = RulesJudge()
    with ThreadPoolExecutor(8) as pool:
        verdicts = pool.map(lambda n: judge.judge("", [f"{n} km"], f"{n * 1000} m").correct, range(1, 200))
    assert all(verdicts)


@dataclass(frozen=True)
class Failing:
    error: Exception

    def judge(self, question, answers, candidate):
        raise self.error


def test_a_chain_asks_in_order_and_names_who_decided():
    chain = ChainJudge((ExactJudge(), RulesJudge()))
    assert chain.judge("", ["Oslo"], "oslo") == Verdict(True, "exact")
    assert chain.judge("", ["3 km"], "3000 m") == Verdict(True, "rules")
    assert chain.judge("", ["Oslo"], "Bergen") == Verdict(False, "rules")


def test_a_chain_does_not_ask_further_once_one_said_correct():
    chain = ChainJudge((ExactJudge(), Failing(RuntimeError("never asked"))))
    assert chain.judge("", ["Oslo"], "Oslo").correct


@pytest.mark.parametrize("error", [TimeoutError("slow"), ValueError("odd"), BackendError("down")])
def test_a_failing_judge_raises_instead_of_scoring_zero(error):
    chain = ChainJudge((ExactJudge(), Failing(error)))
    with pytest.raises(BackendError, match=str(error)):
        chain.judge("", ["Oslo"], "Bergen")


def test_exact_is_the_published_metric_and_rules_guards_its_figures():
    assert get_judge("exact").judge("", ["52"], "5.2").correct
    assert not get_judge("rules").judge("", ["52"], "5.2").correct
    assert not get_judge("exact").judge("", ["A"], "the").correct
    assert get_judge("exact").judge("", ["A"], "a").correct


def test_unknown_judges_are_refused_with_a_suggestion():
    with pytest.raises(ConfigurationError, match="Did you mean 'exact'"):
        get_judge("exakt")
    with pytest.raises(ConfigurationError, match="judge"):
        get_judge(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="at least one"):
        ChainJudge(())
