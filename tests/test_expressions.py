"""Referring expressions are read off a question's own words."""

from __future__ import annotations

import pytest

from mmsearch_env.reading.expressions import referring_expressions


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is the capital of the country whose flag is shown by the flag on the left?", "the flag on the left"),
        ("Name the brightest star of the star chart at the top right.", "the star chart at the top right"),
        (
            "In which epoch are relatives of the fish in the bottom right corner found?",
            "the fish in the bottom right corner",
        ),
        ("Which currency is used where the upper left map shows?", "the upper left map"),
        ("Which letter does the leftmost signal flag stand for?", "the leftmost signal flag"),
        ("Which element gives the spectrum in the middle?", "the spectrum in the middle"),
        ("What does this flag mean at sea?", "the flag"),
    ],
)
def test_the_most_specific_expression_comes_first(question, expected):
    assert referring_expressions(question)[0] == expected


def test_a_question_without_one_gives_none():
    assert referring_expressions("Which park holds most of these?") == []


def test_each_expression_is_given_once():
    expressions = referring_expressions("Is the flag on the left older than The flag on the left?")
    assert expressions.count("the flag on the left") == 1
