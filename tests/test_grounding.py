"""Tests of grounding by record."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch_env.errors import ConfigurationError
from mmsearch_env.grounding.recorded import RecordedGrounder
from mmsearch_env.records import Box, pixel_digest

IMAGE = np.zeros((120, 200, 3), np.uint8)
LEFT, RIGHT, CHART = Box(10, 20, 60, 70), Box(120, 10, 190, 60), Box(70, 80, 110, 118)
RECORDED = {
    pixel_digest(IMAGE): {
        "the flag on the left": LEFT,
        "the leftmost flag": LEFT,
        "the flag at the top right": RIGHT,
        "the star chart": CHART,
    }
}


def located(expression, **options):
    return [found.box for found in RecordedGrounder(RECORDED, **options).locate(IMAGE, expression)]


def test_the_same_expression_is_exact_whatever_its_case_and_spaces():
    (found,) = RecordedGrounder(RECORDED).locate(IMAGE, " The flag  on the LEFT ")
    assert (found.box, found.score) == (LEFT, 1.0)


@pytest.mark.parametrize(
    ("expression", "box"),
    [
        ("left flag", LEFT),
        ("the flag on the left side", LEFT),
        ("flag on the left-hand side", LEFT),
        ("the upper right flag", RIGHT),
        ("the flag on the right", RIGHT),
        ("the rightmost flag", RIGHT),
        ("chart of stars", CHART),
    ],
)
def test_other_words_for_the_same_thing_find_it(expression, box):
    assert located(expression)[0] == box


@pytest.mark.parametrize(
    "expression",
    [
        "the flag at the bottom right",
        "the second flag on the left",
        "the bird on the left",
        "the zebra",
        "left",
        "",
        "the",
        "the flag in the middle",
    ],
)
def test_what_does_not_fit_is_not_found(expression):
    if expression == "left":
        # A place alone still fits what lies there, but weakly.
        assert located(expression) in ([], [LEFT])
    else:
        assert located(expression) == []


def test_a_wrong_side_never_matches_the_other_side():
    assert RIGHT not in located("the left flag")
    assert LEFT not in located("the right flag")


def test_an_ambiguous_expression_gives_every_candidate_once_in_a_fixed_order():
    assert located("the flag") == [LEFT, RIGHT]


def test_colours_and_sizes_that_contradict_do_not_match():
    boxes = {pixel_digest(IMAGE): {"the red and white flag": LEFT, "the large blue map": RIGHT}}
    grounder = RecordedGrounder(boxes)
    assert [found.box for found in grounder.locate(IMAGE, "the white and red flag")] == [LEFT]
    assert grounder.locate(IMAGE, "the green flag") == []
    assert grounder.locate(IMAGE, "the small blue map") == []


def test_a_picture_without_record_has_no_boxes():
    assert RecordedGrounder(RECORDED).locate(IMAGE + np.uint8(1), "the flag on the left") == []


def test_a_picture_that_changes_in_place_is_looked_at_again():
    grounder = RecordedGrounder(RECORDED)
    image = IMAGE.copy()
    assert grounder.locate(image, "the star chart")
    image[0, 0] = 9
    assert grounder.locate(image, "the star chart") == []


def test_a_read_only_picture_is_not_confused_with_another():
    grounder = RecordedGrounder(RECORDED)
    known, other = IMAGE.copy(), IMAGE + np.uint8(1)
    known.flags.writeable = other.flags.writeable = False
    for _ in range(2):
        assert grounder.locate(known, "the star chart")
        assert not grounder.locate(other, "the star chart")


def test_jitter_is_a_function_of_seed_picture_and_expression():
    (first,) = located("the flag on the left", jitter=0.2, seed=1)
    assert first != LEFT
    assert located("The FLAG on the left", jitter=0.2, seed=1) == [first]
    assert located("the flag on the left", jitter=0.2, seed=2) != [first]
    assert located("the leftmost flag", jitter=0.2, seed=1) != [first]


def test_more_jitter_moves_boxes_further():
    def mean_iou(jitter):
        found = [located("the flag on the left", jitter=jitter, seed=seed)[0].iou(LEFT) for seed in range(50)]
        return sum(found) / len(found)

    assert mean_iou(0.0) == 1.0
    assert 0.8 > mean_iou(0.1) > mean_iou(0.3) > 0.0


@given(
    st.floats(0.0, 0.5),
    st.integers(0, 2**63),
    st.integers(0, 199),
    st.integers(0, 119),
    st.integers(1, 200),
    st.integers(1, 120),
)
def test_a_jittered_box_lies_inside_the_picture_and_has_area(jitter, seed, left, top, width, height):
    box = Box(left, top, min(left + width, 200), min(top + height, 120))
    grounder = RecordedGrounder({pixel_digest(IMAGE): {"it": box}}, jitter=jitter, seed=seed)
    (found,) = grounder.locate(IMAGE, "it")
    assert found.box.clip(200, 120) == found.box


@pytest.mark.parametrize("jitter", [-0.1, 0.6, float("nan")])
def test_jitter_outside_its_range_is_refused(jitter):
    with pytest.raises(ConfigurationError, match="jitter"):
        RecordedGrounder({}, jitter=jitter)
