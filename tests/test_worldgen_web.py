import numpy as np
import pytest

from mmsearch_env.records import Box, Document, Query, Task, pixel_digest
from mmsearch_env.search.encoders import get_encoder
from mmsearch_env.search.image_index import ImageIndex
from mmsearch_env.search.replay import ReplayBackend
from mmsearch_env.search.text_index import TextIndex
from mmsearch_env.worlds import index_descriptors
from worldgen.recordings import PROVIDER, K, record_searches
from worldgen.subjects import Subject
from worldgen.web import draw_web
from worldgen.web_pages import find_posters, picture_pages

SUBJECTS = tuple(
    Subject("constellations", slug, "test") for slug in ("aquila", "cygnus", "leo", "lyra", "orion", "pegasus")
)


def page(subject, style, **metadata):
    name = subject.slug.title()
    return Document(
        id=f"{style}-{subject.slug}",
        title=f"{name} ({style})",
        url=f"https://atlas.example/{style}/{subject.slug}",
        text=f"{name} is a constellation. It is described on the page called {style}.",
        metadata={"entity": subject.entity, **metadata},
    )


@pytest.fixture(scope="module")
def documents():
    listed = {"entities": [subject.entity for subject in SUBJECTS]}
    a_list = Document(id="list", title="Figures of the sky", url="https://atlas.example/list", text="", metadata=listed)
    charts = [page(subject, "chart", picture="constellations") for subject in SUBJECTS]
    return [*charts, *(page(subject, "article") for subject in SUBJECTS), a_list]


@pytest.fixture(scope="module")
def web(documents):
    return draw_web(SUBJECTS, picture_pages(SUBJECTS, documents), find_posters(SUBJECTS, documents))


def test_a_picture_stands_on_the_page_about_it_under_a_title_that_names_the_entity(web):
    pictures, images = web
    assert {picture.image for picture in pictures} == set(images)
    for picture in pictures:
        assert images[picture.image].dtype == np.uint8
        if picture.metadata["style"] != "poster":
            assert picture.title == f"{picture.metadata['entities'][0].split(':')[1].title()} (chart)"
            assert 120 <= max(images[picture.image].shape) <= 220


def test_a_list_page_gets_a_poster_of_what_it_lists(web):
    posters = [picture for picture in web[0] if picture.metadata["style"] == "poster"]
    assert [poster.document_id for poster in posters] == ["list"]
    assert posters[0].metadata["entities"] == sorted(subject.entity for subject in SUBJECTS)


def test_a_subject_without_a_page_is_refused(documents):
    with pytest.raises(ValueError, match="constellation:draco in constellations"):
        picture_pages([Subject("constellations", "draco", "test")], documents)


def test_replaying_a_recording_gives_what_the_indexes_gave(documents, web):
    pictures, images = web
    by_id = {document.id: document for document in documents}
    encoder = get_encoder()
    descriptors = index_descriptors((images[picture.image] for picture in pictures), encoder)
    image_index, text_index = ImageIndex(pictures, by_id, descriptors, encoder), TextIndex(documents)
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[5:25, 10:50] = np.arange(40, dtype=np.uint8)[None, :, None] * 5
    task = Task(
        id="t",
        image=pixel_digest(pixels),
        question="What is this?",
        answers=("Orion",),
        needs_search=True,
        category="one_hop",
        domain="constellations",
        split="test",
        expression="the star chart",
        boxes={"the star chart": Box(10, 5, 50, 25)},
        metadata={"plan": [{"query": "Orion article"}]},
    )
    rows = record_searches([task, task], {task.image: pixels}, by_id, text_index=text_index, image_index=image_index)
    assert len(rows) == 3
    assert all({"url", "snippet"}.isdisjoint(hit) for row in rows for hit in row["hits"])
    replay = ReplayBackend(rows, by_id, provider=PROVIDER)
    region = np.ascontiguousarray(task.boxes["the star chart"].crop(pixels))
    for index, query in (
        (image_index, Query(image=pixels)),
        (image_index, Query(image=region)),
        (text_index, Query(text="orion  ARTICLE")),
    ):
        live, again = index.search(query, K), replay.search(query, K)
        assert [(hit.document_id, hit.title, hit.url, hit.snippet, hit.score) for hit in live] == [
            (hit.document_id, hit.title, hit.url, hit.snippet, hit.score) for hit in again
        ]
