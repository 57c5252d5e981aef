"""The bundled world as it lies in fixtures/atlas: what it promises, checked on the files themselves."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from mmsearch_env.paths import bundled
from mmsearch_env.records import Query, pixel_digest
from mmsearch_env.worlds import load_world, verify_world
from worldgen.build import build_world
from worldgen.recordings import PROVIDER, K, picture_queries, text_queries
from worldgen.subjects import ENTITY_PREFIX

SPLITS = ("train", "validation", "test", "ood")


@pytest.fixture(scope="module")
def atlas():
    return load_world("atlas")


@pytest.fixture(scope="module")
def tasks(atlas):
    return atlas.tasks()


def shown_by(picture):
    return set(picture.metadata["entities"])


def test_the_world_is_as_large_as_promised_and_no_larger(atlas, tasks):
    folder = bundled("atlas")
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 30_000_000
    assert len(tasks) >= 3000
    assert len(atlas.documents) >= 2000
    assert len({task.image for task in tasks} | {picture.image for picture in atlas.pictures}) >= 600
    assert len({entity for task in tasks for entity in task.entities}) >= 200


def test_every_picture_domain_has_tasks_and_spectra_are_held_out(tasks):
    domains = defaultdict(set)
    for task in tasks:
        domains[task.split].add(task.domain)
    assert domains["ood"] == {"spectra"}
    assert domains["train"] == domains["test"] == set(ENTITY_PREFIX) - {"spectra"}


def test_no_entity_is_in_two_splits(tasks):
    splits = defaultdict(set)
    for task in tasks:
        for entity in task.entities:
            splits[entity].add(task.split)
    assert {len(names) for names in splits.values()} == {1}
    assert set.union(*splits.values()) == set(SPLITS)


def test_about_half_of_the_tasks_of_each_split_need_no_search(tasks):
    for split in SPLITS:
        needs = [task.needs_search for task in tasks if task.split == split]
        assert 0.4 <= np.mean(needs) <= 0.6, split


def test_every_category_is_there_and_perception_is_what_needs_no_search(tasks):
    counts = Counter(task.category for task in tasks)
    assert {"one_hop", "two_hop", "refine", "comparison", "perception"} <= set(counts)
    assert all((task.category == "perception") == (not task.needs_search) for task in tasks)


def test_questions_and_web_never_share_a_picture(atlas, tasks):
    web = [picture.image for picture in atlas.pictures]
    assert len(set(web)) == len(web)
    assert not set(web) & {task.image for task in tasks}


def test_every_entity_that_a_question_shows_has_a_picture_on_the_web(atlas, tasks):
    on_the_web = set().union(*(shown_by(picture) for picture in atlas.pictures))
    assert {entity for task in tasks for entity in task.entities} <= on_the_web


def test_boxes_lie_inside_their_pictures_and_expressions_name_one_of_them(atlas, tasks):
    for task in tasks[::7]:
        height, width = atlas.image(task.image).shape[:2]
        assert all(box.clip(width, height) == box for box in task.boxes.values())
        assert task.expression is None or task.expression in task.boxes


def test_pictures_asked_about_have_one_size_and_are_named_by_their_pixels(atlas, tasks):
    for digest in sorted({task.image for task in tasks})[::20]:
        assert atlas.image(digest).shape == (240, 320, 3)
        assert pixel_digest(atlas.image(digest)) == digest


def test_the_world_passes_its_own_verification():
    assert verify_world(bundled("atlas")) == []


def test_everything_carries_a_licence(atlas):
    assert atlas.licence == "Apache-2.0"


def test_every_planned_search_is_recorded(atlas, tasks):
    backends = atlas.backends("error")
    some = tasks[::40]
    for query in text_queries(some):
        backends.text.search(query, K)
    for query in picture_queries(some, {task.image: atlas.image(task.image) for task in some}):
        assert len(backends.images.search(query, K)) == K


def test_a_recording_says_what_the_index_says(atlas, tasks):
    from mmsearch_env.search.image_index import ImageIndex
    from mmsearch_env.search.text_index import TextIndex

    encoder = atlas.encoder()
    images = ImageIndex(atlas.pictures, atlas.documents, atlas.descriptors(encoder.name), encoder)
    texts = TextIndex(list(atlas.documents.values()))
    recorded = atlas.backends("error")
    task = next(task for task in atlas.tasks("test") if task.needs_search and task.category == "one_hop")

    def told(hits):
        return [(hit.document_id, hit.title, hit.url, hit.snippet, hit.score) for hit in hits]

    for query in text_queries([task]):
        assert told(recorded.text.search(query, K)) == told(texts.search(query, K))
    whole = Query(image=atlas.image(task.image))
    assert told(recorded.images.search(whole, K)) == told(images.search(whole, K))
    assert {row["provider"] for row in atlas.recordings()} == {PROVIDER}


def test_the_right_region_finds_the_entity_and_the_whole_picture_does_not(atlas):
    shows: dict[tuple[str, str], set[str]] = defaultdict(set)
    for picture in atlas.pictures:
        shows[picture.document_id, picture.title] |= shown_by(picture)
    first, among, whole = [], [], []
    seen = set()
    for task in atlas.tasks("test"):
        if not task.needs_search or task.expression is None or len(task.entities) < 2 or task.category == "comparison":
            continue
        if (task.image, task.expression) in seen:
            continue
        seen.add((task.image, task.expression))
        pixels = atlas.image(task.image)
        asked = task.metadata["entity"]
        region = Query(image=np.ascontiguousarray(task.boxes[task.expression].crop(pixels)))
        found = [asked in shows[hit.document_id, hit.title] for hit in atlas.images.search(region, 5)]
        first.append(found[0])
        among.append(any(found))
        found = [asked in shows[hit.document_id, hit.title] for hit in atlas.images.search(Query(image=pixels), 5)]
        whole.append(any(found))
    assert len(first) >= 100
    assert np.mean(first) >= 0.75
    assert np.mean(among) >= 0.9
    assert np.mean(whole) <= 0.4


def test_building_twice_gives_the_same_bytes(tmp_path):
    first, second = (build_world(tmp_path / name, limit=3) for name in ("first", "second"))
    names = sorted(file.relative_to(first) for file in first.rglob("*") if file.is_file())
    assert names == sorted(file.relative_to(second) for file in second.rglob("*") if file.is_file())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
