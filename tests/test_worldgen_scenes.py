from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from mmsearch_env.records import pixel_digest
from worldgen.backgrounds import BACKGROUNDS, paint_background
from worldgen.layouts import LAYOUTS, refer
from worldgen.photograph import reduce_colours, tilt, visible_box
from worldgen.scenes import HEIGHT, WIDTH, Plan, compose, plan_scenes
from worldgen.subjects import ENTITY_PREFIX, Subject, drawing_module, find_subjects, generator
from worldgen.web import draw_picture


def split_of(entity):
    return "ood" if entity.startswith("element:") else ("train", "test")[len(entity) % 2]


@pytest.fixture(scope="module")
def subjects():
    return find_subjects(split_of)


@pytest.fixture(scope="module")
def composed(subjects):
    plans = plan_scenes(subjects, {"train": 8, "test": 8, "ood": 4})
    return [compose(plan) for plan in plans]


def overlap(first, second):
    across = min(first.right, second.right) - max(first.left, second.left)
    down = min(first.bottom, second.bottom) - max(first.top, second.top)
    return min(across, down)


def test_a_plan_gives_the_same_picture_every_time(subjects):
    plan = plan_scenes(subjects, {"test": 1})[0]
    (first, pixels), (second, again) = compose(plan), compose(plan)
    assert first == second
    assert np.array_equal(pixels, again)


def test_a_scene_is_named_by_its_pixels_and_has_the_common_size(composed):
    for scene, pixels in composed:
        assert pixels.shape == (HEIGHT, WIDTH, 3) == (scene.height, scene.width, 3)
        assert scene.image == pixel_digest(pixels)


def test_boxes_lie_inside_the_picture_are_large_enough_and_hardly_overlap(composed):
    for scene, _ in composed:
        boxes = [item.box for item in scene.items]
        for box in boxes:
            assert box.clip(WIDTH, HEIGHT) == box
            assert max(box.right - box.left, box.bottom - box.top) >= 85
        assert all(overlap(first, second) <= 6 for first, second in combinations(boxes, 2))


def test_a_box_is_tight_around_what_the_background_does_not_show():
    subject = Subject("outlines", "france", "test")
    scene, pixels = compose(Plan("test-x", "test", (subject,), "studio backdrop"))
    box = scene.items[0].box
    background = np.median(pixels[:, : max(box.left - 8, 1)].reshape(-1, 3), axis=0)
    edge_rows = pixels[box.top : box.bottom, box.left : box.right].astype(int)
    assert (np.abs(edge_rows - background).sum(axis=2) > 40).any(axis=1).mean() > 0.95


def test_referring_expressions_tell_the_things_of_a_scene_apart(composed):
    for scene, _ in composed:
        expressions = [expression for item in scene.items for expression in item.expressions]
        assert len(set(expressions)) == len(expressions)
        assert all(item.expression == item.expressions[0] for item in scene.items)


def test_no_layout_names_two_places_alike():
    for layouts in LAYOUTS.values():
        for cells in layouts:
            phrases = [phrase for cell in cells for phrase in cell.place]
            assert len(set(phrases)) == len(phrases)


def test_a_lone_kind_needs_no_place_and_a_flag_beside_a_signal_flag_is_national():
    cells = LAYOUTS[2][0]
    assert [expressions[0] for expressions in refer(["flags", "outlines"], cells)] == ["the flag", "the map"]
    assert [expressions[0] for expressions in refer(["flags", "signals"], cells)] == [
        "the national flag",
        "the signal flag",
    ]
    assert refer(["flags", "flags"], cells)[0][0] == "the flag on the left"


def test_the_things_of_a_scene_share_its_split_and_differ(subjects):
    for plan in plan_scenes(subjects, {"train": 60, "test": 60, "ood": 20}):
        assert {subject.split for subject in plan.subjects} == {plan.split}
        entities = [subject.entity for subject in plan.subjects]
        assert 1 <= len(set(entities)) == len(entities) <= 4


def test_every_subject_is_shown_and_none_much_more_often_than_another(subjects):
    few = [subject for subject in subjects if subject.split == "test"][::6]
    shown = Counter(subject for plan in plan_scenes(few, {"test": 4 * len(few)}) for subject in plan.subjects)
    assert set(shown) == set(few)
    assert min(shown.values()) >= 3


def test_more_scenes_leave_the_first_ones_as_they_were(subjects):
    assert plan_scenes(subjects, {"test": 9})[:5] == plan_scenes(subjects, {"test": 5})


def test_web_styles_are_never_scene_styles():
    for domain in ENTITY_PREFIX:
        module = drawing_module(domain)
        assert not set(module.SCENE_STYLES) & set(module.WEB_STYLES)
        assert len(module.WEB_STYLES) >= 2


def test_web_pictures_of_one_subject_differ_by_style():
    subject = Subject("constellations", "orion", "test")
    digests = {pixel_digest(draw_picture(subject, style)) for style in drawing_module("constellations").WEB_STYLES}
    assert len(digests) == len(drawing_module("constellations").WEB_STYLES)


@pytest.mark.parametrize("kind", sorted(BACKGROUNDS))
def test_a_background_fills_the_picture_with_valid_values_and_follows_its_seed(kind):
    painted = paint_background(kind, generator(1, kind), 64, 48)
    assert painted.shape == (48, 64, 3)
    assert painted.min() >= 0
    assert painted.max() <= 255
    assert painted.std() > 1
    assert np.array_equal(painted, paint_background(kind, generator(1, kind), 64, 48))
    assert not np.array_equal(painted, paint_background(kind, generator(2, kind), 64, 48))


def test_a_thin_bright_line_keeps_its_colour_when_colours_are_few():
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[:, :, 2] = np.arange(80)[None, :] * 3
    pixels[:, 40] = (250, 20, 10)
    few = reduce_colours(Image.fromarray(pixels), 16)
    assert len(np.unique(few.reshape(-1, 3), axis=0)) <= 16
    assert np.abs(few[:, 40].astype(int) - (250, 20, 10)).max() < 24


def test_tilting_keeps_the_drawing_and_cuts_to_what_is_visible():
    flat = Image.new("RGBA", (200, 100), (200, 30, 30, 255))
    turned = tilt(flat, generator(3, "tilt"), (100, 50), degrees=5.0, keystone=0.1)
    assert turned.shape[0] in range(42, 66)
    assert turned.shape[1] in range(84, 110)
    assert visible_box(turned[:, :, 3]).as_list() == [0, 0, turned.shape[1], turned.shape[0]]


def test_a_transparent_drawing_is_refused():
    with pytest.raises(ValueError, match="can be seen"):
        visible_box(np.zeros((4, 4), np.uint8))
