import re

import pytest

from mmsearch_env.records import Document, Query
from mmsearch_env.search.summaries import extractive
from mmsearch_env.search.text_index import TextIndex
from worldgen.knowledge.facts import load_facts
from worldgen.knowledge.pages import build_documents, detours_of, fill
from worldgen.knowledge.prose import load_prose
from worldgen.subjects import find_subjects, generator
from worldgen.web_pages import picture_pages

KINDS = ("country", "signal", "constellation", "element")
TOLD_PAGES = 5


@pytest.fixture(scope="module")
def facts():
    return load_facts()


@pytest.fixture(scope="module")
def documents(facts):
    return build_documents(facts, generator(1, "documents"))


@pytest.fixture(scope="module")
def pages_of(documents):
    pages: dict[str | None, list[Document]] = {}
    for document in documents:
        pages.setdefault(document.metadata.get("entity"), []).append(document)
    return pages


@pytest.fixture(scope="module")
def told(documents):
    index, by_id = TextIndex(documents), {document.id: document for document in documents}

    def tell(query):
        hits = index.search(Query(text=query), TOLD_PAGES)
        texts = extractive(query, [by_id[hit.document_id].text for hit in hits])
        return " ".join(f"{hit.title}: {text}" for hit, text in zip(hits, texts, strict=True))

    return tell


def holds(text, answers):
    return any(re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE) for answer in answers)


def test_there_are_many_pages_and_no_two_share_an_id_a_title_or_an_address(documents):
    assert len(documents) >= 2_000
    for field in ("id", "title", "url"):
        assert len({getattr(document, field) for document in documents}) == len(documents), field


def test_no_placeholder_and_no_slip_of_the_template_is_left_in_a_page(documents):
    slip = re.compile(r"[{}]|  |\s\.(?!\w)|\s,|(?<!\.)\.\.(?![.-])|,,|\b(the|a|of) \1\b", re.IGNORECASE)
    for document in documents:
        prose = re.sub("“[^”]*”", "Q", f"{document.title} {document.text}")  # Morse is quoted
        assert not slip.search(prose), (document.id, slip.search(prose))


def test_sentences_begin_with_a_capital_letter(documents):
    small = re.compile(r"(?:^|[a-z]{3}[.?] )[a-z]")
    for document in documents:
        assert not small.search(document.text), (document.id, small.search(document.text))


def test_pages_are_neither_stubs_nor_essays(documents):
    lengths = sorted(len(document.text.split()) for document in documents)
    assert lengths[0] >= 25
    assert lengths[len(lengths) // 50] >= 44
    assert lengths[-1] <= 200


def test_everything_that_scenes_show_has_a_page_about_its_picture(facts, documents):
    subjects = find_subjects(facts.split)
    found = picture_pages(subjects, documents)
    assert set(found) == {(subject.entity, subject.domain) for subject in subjects}
    for (entity, domain), ((page, title), *_) in found.items():
        assert page.metadata["picture"] == domain
        assert facts.entities[entity].name in title


@pytest.mark.parametrize("kind", KINDS)
def test_every_fact_that_may_be_asked_stands_on_a_page_of_its_entity(facts, pages_of, kind):
    asked = load_prose(kind).attributes
    for entity in facts.of_kind(kind):
        text = " ".join(page.text for page in pages_of[entity.id])
        for name, value in entity.values.items():
            if name in asked and asked[name].questions:
                assert value.text.casefold() in text.casefold(), (entity.id, name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fact_behind_a_detour_is_stated_on_its_own_page_only(facts, pages_of, kind):
    for entity in facts.of_kind(kind):
        for name in detours_of(entity):
            target = f"/detour-{name}"
            others = [page for page in pages_of[entity.id] if not page.id.endswith(target)]
            statements = load_prose(kind).attributes[name].statements
            stated = [fill(statement, entity, value=entity.values[name].text) for statement in statements]
            assert any(page.id.endswith(target) for page in pages_of[entity.id])
            assert not any(sentence in page.text for page in others for sentence in stated), (entity.id, name)


def test_the_obvious_query_finds_the_way_to_a_hidden_fact_but_not_the_fact(facts, told):
    tried = pointed = given_away = reached = 0
    entities = [entity for entity in facts.entities.values() if detours_of(entity)]
    for entity in entities[::4]:
        prose = load_prose(entity.kind)
        for name in detours_of(entity):
            answers = entity.values[name].answers
            target = fill(prose.detours[name].title, entity)
            first = told(fill(prose.attributes[name].query, entity))
            tried += 1
            pointed += target in first
            given_away += holds(first, answers)
            reached += holds(told(target), answers)
    assert tried > 50
    # A fact may be given away by chance, such as a currency's by another country; such a question is not asked.
    assert pointed >= 0.95 * tried
    assert reached == tried
    assert given_away <= 0.25 * tried


def test_a_page_does_not_depend_on_the_pages_of_other_entities(facts, documents):
    again = build_documents(facts, generator(2, "another order"))
    assert {document.id: document for document in again} == {document.id: document for document in documents}
