import pytest

from mmsearch_env.rewards.answers import exact_match, f1, is_give_up, normalize


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The Cat!", "cat"),
        ("a  an  the", ""),
        ("U.S.A.", "usa"),
        ("An apple a day", "apple day"),
        ("Guinea-Bissau", "guineabissau"),
        ("5.2", "52"),
        ("São Tomé", "são tomé"),
        ("theatre", "theatre"),
        ("  Oslo \n", "oslo"),
        ("5 km²", "5 km²"),
    ],
)
def test_normalisation_agrees_with_cases_worked_by_hand(text, normalized):
    assert normalize(text) == normalized


@pytest.mark.parametrize(
    ("candidate", "answers", "exact", "overlap"),
    [
        ("Oslo", ["Oslo"], True, 1.0),
        ("the oslo.", ["Bergen", "Oslo"], True, 1.0),
        ("Oslo, Norway", ["Oslo"], False, 2 / 3),  # precision 1/2, recall 1
        ("new york", ["New York City"], False, 0.8),  # precision 1, recall 2/3
        ("york york", ["york"], False, 2 / 3),  # one token is shared, not two
        ("Bergen", ["Oslo"], False, 0.0),
        ("b c d e", ["c d", "b c d e f"], False, 8 / 9),  # max(2/3, 8/9)
        ("", ["Oslo"], False, 0.0),
        ("the", ["A"], True, 0.0),  # both are empty: as published
        ("Oslo", [], False, 0.0),
    ],
)
def test_exact_match_and_f1_agree_with_cases_worked_by_hand(candidate, answers, exact, overlap):
    assert exact_match(candidate, answers) is exact
    assert f1(candidate, answers) == pytest.approx(overlap)


def test_the_published_ways_to_give_up_are_recognised():
    assert is_give_up("Unable to answer due to lack of relevant information")
    assert is_give_up(" unable to answer due to lack of information. ")
    assert not is_give_up("The man was unable to answer")
    assert not is_give_up("")
