import re
from collections import Counter, defaultdict

import pytest

from mmsearch_agents.scripted.questions import name_what_is_shown, nested_in
from mmsearch_env.reading.expressions import referring_expressions
from mmsearch_env.records import Box
from worldgen.knowledge.checks import SearchCheck
from worldgen.knowledge.facts import load_facts
from worldgen.knowledge.pages import build_documents
from worldgen.knowledge.prose import load_prose
from worldgen.knowledge.questions import PER_CATEGORY, build_tasks
from worldgen.layouts import LAYOUTS, refer
from worldgen.scene_records import Item, Scene
from worldgen.scenes import plan_scenes
from worldgen.subjects import find_subjects, generator

WIDTH, HEIGHT = 320, 240
SPLITS = {"train", "validation", "test", "ood"}
FORMS_THAT_OFFER_THEIR_ANSWER = {"background", "colour", "larger", "shape", "side", "stripe-direction"}


def stand_in(plan):
    """Give a planned scene boxes straight from its layout, so that nothing has to be drawn."""
    rng = generator(3, plan.id)
    layouts = LAYOUTS[len(plan.subjects)]
    cells = layouts[int(rng.integers(len(layouts)))]
    expressions = refer([subject.domain for subject in plan.subjects], cells)
    items = []
    for subject, cell, phrases in zip(plan.subjects, cells, expressions, strict=True):
        shrink = int(rng.integers(0, 30))
        left, top = int(cell.left * WIDTH) + shrink, int(cell.top * HEIGHT)
        box = Box(left, top, max(int(cell.right * WIDTH) - shrink, left + 9), max(int(cell.bottom * HEIGHT), top + 9))
        items.append(Item(subject.entity, subject.domain, subject.slug, "0" * 64, box, phrases[0], phrases))
    image = plan.id.encode().hex().ljust(64, "0")[:64]
    return Scene(plan.id, plan.split, tuple(items), plan.background, WIDTH, HEIGHT, image)


@pytest.fixture(scope="module")
def facts():
    return load_facts()


@pytest.fixture(scope="module")
def documents(facts):
    return build_documents(facts, generator(1, "documents"))


@pytest.fixture(scope="module")
def scenes(facts):
    return [stand_in(plan) for plan in plan_scenes(find_subjects(facts.split))]


@pytest.fixture(scope="module")
def tasks(scenes, facts, documents):
    return build_tasks(scenes, facts, documents, generator(1, "tasks"))


@pytest.fixture(scope="module")
def searching(tasks):
    return [task for task in tasks if task.needs_search]


@pytest.fixture(scope="module")
def check(documents):
    return SearchCheck(documents)


def holds(text, answers):
    return any(re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE) for answer in answers)


def test_there_are_many_questions_and_half_of_them_need_a_search(tasks, searching):
    assert len(tasks) >= 3_000
    assert len({task.id for task in tasks}) == len(tasks)
    assert 0.48 <= len(searching) / len(tasks) <= 0.52


def test_every_split_asks_in_every_category_about_its_own_entities(facts, tasks):
    for split in SPLITS:
        categories = {task.category for task in tasks if task.split == split}
        assert categories == {"perception", *PER_CATEGORY}, split
    assert {task.split for task in tasks} == SPLITS
    for task in tasks:
        assert {facts.split(entity) for entity in task.entities} == {task.split}, task.id


def test_the_categories_keep_their_shares(searching):
    counts = Counter(task.category for task in searching)
    for category, share in PER_CATEGORY.items():
        assert abs(counts[category] / len(searching) - share) < 0.06, category


def test_no_question_names_what_is_pictured(facts, searching):
    for task in searching:
        name = facts.entities[task.metadata["entity"]].name
        assert not holds(task.question, [name]), task.question


def test_no_question_holds_its_answer_unless_it_offers_a_choice(tasks):
    for task in tasks:
        form = task.metadata["form"].rpartition("/")[2]
        if task.category != "comparison" and form not in FORMS_THAT_OFFER_THEIR_ANSWER:
            assert not holds(task.question, task.answers), task.question


def test_no_template_is_left_in_a_question(tasks):
    slip = re.compile(r"[{}]|  | [.,?]|\b(the|of|in) \1\b|\bthe this\b", re.IGNORECASE)
    for task in tasks:
        assert not slip.search(task.question), task.question
        assert task.question[0].isupper()
        assert task.question[-1] in "?."


def test_a_plan_finds_what_it_is_for_on_the_pages_that_are_its_evidence(searching, check):
    for task in searching:
        queries = [step["query"] for step in task.metadata["plan"] if step["tool"] == "text_search"]
        last = check.told(queries[-1])
        assert task.metadata["evidence"]
        if task.category != "comparison":
            holding = {page for page, text in last.items() if holds(text, task.answers)}
            assert holding
            assert holding <= set(task.metadata["evidence"]), task.id


def test_a_refine_question_is_not_answered_by_its_first_query_but_led_on(searching, check):
    refine = [task for task in searching if task.category == "refine"]
    for task in refine:
        obvious, target = (step["query"] for step in task.metadata["plan"][1:])
        told = check.told(obvious).values()
        assert not any(holds(text, task.answers) for text in told), task.question
        assert any(target in text for text in told), task.question


def test_a_question_points_at_what_it_is_about_before_anything_else(searching):
    for task in searching:
        assert referring_expressions(task.question)[0] == task.expression, task.question
        assert task.expression in task.boxes


def test_a_name_can_stand_for_what_is_pictured_and_nothing_else_is_lost(facts, scenes, searching):
    items = {(scene.image, item.expression): item for scene in scenes for item in scene.items}
    for task in searching:
        item = items[task.image, task.expression]
        pointing = f"this {task.expression[4:]}" if len(item.expressions) == 1 else task.expression
        owners = load_prose(facts.entities[item.entity].kind).owners[item.domain]
        words = [owner.replace("{expression}", pointing) for owner in owners]
        words += [owner[0].upper() + owner[1:] for owner in words]
        renamed = name_what_is_shown(task.question, "Ruritania")
        assert not referring_expressions(renamed), task.question
        assert renamed in {task.question.replace(owner, "Ruritania") for owner in words}, task.question


def test_only_a_question_of_two_hops_leaves_something_to_look_up_first(searching):
    for task in searching:
        if task.category in ("one_hop", "refine", "two_hop"):
            nested = nested_in(name_what_is_shown(task.question, "Ruritania"), "Ruritania")
            asks_for_a_star = task.metadata["attribute"] == "brightest_star"
            assert (nested is not None) == (task.category == "two_hop") or asks_for_a_star, task.question


def test_a_comparison_is_won_by_the_named_side_less_than_half_the_time_but_often(searching):
    compared = [task for task in searching if task.category == "comparison"]
    named = sum(holds(task.question, task.answers) for task in compared)
    assert 0.3 <= named / len(compared) <= 0.5


def test_no_form_of_perception_is_answered_by_one_guess(tasks):
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for task in tasks:
        if not task.needs_search:
            answers[task.metadata["form"]][task.answers[0]] += 1
    assert len(answers) >= 12
    for form, counts in answers.items():
        if counts.total() >= 30:
            assert counts.most_common(1)[0][1] <= 0.65 * counts.total(), (form, counts)


def test_a_scene_is_asked_about_the_same_way_whatever_else_is_built(scenes, facts, documents, tasks):
    few = scenes[:40]
    again = build_tasks(few, facts, documents, generator(1, "tasks"))
    assert again == build_tasks(few, facts, documents, generator(1, "tasks"))
    assert len(again) == 4 * len(few)
    looked = {task.id: task for task in tasks if not task.needs_search}
    assert all(task == looked[task.id] for task in again if not task.needs_search)
