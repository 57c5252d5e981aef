import json
import time
from pathlib import Path

import pytest

from mmsearch_env.reading.cues import search_words
from mmsearch_env.reading.reader import Reading, pointers, read
from mmsearch_env.rewards import get_judge

PHOTOS = Path(__file__).parents[2] / "shared" / "worlds" / "photos"


@pytest.mark.parametrize(
    ("question", "passage", "subject", "answer"),
    [
        ("What is the capital of the country whose flag is shown?", "The capital of Norway is Oslo.", "Norway", "Oslo"),
        ("What is the capital of this country?", "Norway: Its parliament sits in its capital, Oslo.", "Norway", "Oslo"),
        ("Name the capital of the state.", "Lima, the capital of Peru, lies on the coast.", "Peru", "Lima"),
        ("What is the capital of this country?", "Norway\nArea: 385,207 km²\nCapital: Oslo", "Norway", "Oslo"),
        ("Which currency is used here?", "Shops in Peru take the Peruvian sol, the currency.", "Peru", "Peruvian sol"),
        ("How large is it?", "Peru has 33 million people and covers 1,285,216 km².", "Peru", "1,285,216 km²"),
        ("How high is its highest mountain?", "The highest mountain of Peru stands at 6,768 m.", "Peru", "6,768 m"),
        ("How many moons does this planet have?", "Mars has two moons.", "Mars", "2"),
        ("In which year was this element discovered?", "Gallium was discovered in 1875 in Paris.", "Gallium", "1875"),
        ("Who discovered this element?", "Gallium was discovered by Paul-Émile Lecoq.", "Gallium", "Paul-Émile Lecoq"),
        ("What is its national anthem called?", "The anthem of Japan is titled “Kimigayo”.", "Japan", "Kimigayo"),
        ("What is its internet country code?", "Its internet code is .no. Norway is cold.", "Norway", ".no"),
        ("What is the genus called?", "The aardvark is the only member of the genus Orycteropus.", None, "Orycteropus"),
        ("What does the flag mean?", "Flown alone, Bravo means: “dangerous goods”.", "Bravo", "dangerous goods"),
        ("What does its name mean?", "Antlia is Latin for the air pump.", "Antlia", "the air pump"),
        (
            "What is its boiling point?",
            "The melting point of iron is 1,538 °C, the boiling point 2,861 °C.",
            "iron",
            "2,861 °C",
        ),
        ("What is its abbreviation?", "The abbreviation of Andromeda is And.", "Andromeda", "And"),
        ("Which hemisphere is it in?", "The list by hemisphere has Lyra under “southern”.", "Lyra", "southern"),
        ("At which rank by size does it stand?", "Rank by size of Lyra: 82nd.", "Lyra", "82nd"),
        ("What is it in Morse code?", "Kilo: On the card stood “-.-” and no more.", "Kilo", "-.-"),
        ("As which letter or digit is it read?", "In spelling, the Soxisix pennant is read as 6.", "Soxisix", "6"),
        ("What does it represent?", "On old charts Vela represents the sails.", "Vela", "the sails"),
        ("From which state did it gain independence?", "Peru gained independence from Spain.", "Peru", "Spain"),
    ],
)
def test_the_span_that_answers_is_found(question, passage, subject, answer):
    assert read(question, [passage], subject=subject).answer == answer


@pytest.mark.parametrize(
    ("passage", "subject"),
    [
        ("Norway: Visitors often ask about the capital.", "Norway"),
        ("The capital of Sweden is Stockholm.", "Norway"),
        ("The capital of Equatorial Guinea is Malabo.", "Guinea"),
        ("Guinea-Bissau is governed from its capital, Bissau.", "Guinea"),
        ("Norway: The capital is named in “Cities of Norway”.", "Norway"),
        ("Norway quiz: Which capital has Norway? Is it Oslo, the capital?", "Norway"),
        ("Norway: Among its towns, the capital is often named.", "Norway"),
        ("Sweden: The capital is Stockholm.", "Norway"),
        ("Norway", "Norway"),
        ("", None),
    ],
)
def test_a_passage_that_does_not_answer_gives_none(passage, subject):
    reading = read("What is the capital of the country?", [passage], subject=subject)
    assert reading.answer is None
    assert reading.support < 0.5


def test_what_is_out_of_date_yields_to_what_is_current():
    passage = "Kazakhstan: The former capital was Almaty. The capital is Astana."
    assert read("What is its capital?", [passage], subject="Kazakhstan").answer == "Astana"


def test_the_better_supported_of_two_passages_wins_in_any_order():
    passages = ["Norway: Bergen is an old town near the capital.", "Norway: The capital of Norway is Oslo."]
    for texts in (passages, passages[::-1]):
        assert read("What is the capital?", texts, subject="Norway").answer == "Oslo"


def test_reading_repeats_itself_and_support_stays_in_range():
    texts = ["Norway: The capital of Norway is Oslo.", "Peru: Lima is the capital."]
    readings = [read("What is the capital?", texts) for _ in range(3)]
    assert readings[0] == readings[1] == readings[2]
    assert isinstance(readings[0], Reading)
    assert 0.0 <= readings[0].support <= 1.0


def test_what_a_sought_page_repeats_answers_without_the_words_of_the_question():
    page = "Album of Norway: The print shows Oslo in the rain. Nobody in Oslo minded."
    assert read("What is the capital?", [page], subject="Norway").answer is None
    assert read("What is the capital?", [page], subject="Norway", sought=["Album of Norway"]).answer == "Oslo"


def test_a_quotation_on_a_sought_page_answers_even_if_it_is_said_once_more():
    page = "Songbook of Norway: The index lists “Ja, vi elsker” once more, among the solemn pieces."
    question = "What is the anthem of Norway called?"
    assert read(question, [page], subject="Norway", sought=["Songbook of Norway"]).answer == "Ja, vi elsker"
    assert read(question, [page], subject="Norway").answer is None


def test_a_query_says_the_name_and_other_words_for_what_is_asked():
    query = search_words("How many people live in Norway?", "Norway").split()
    assert query[0] == query[-1] == "Norway"
    assert {"people", "population"} <= set(query)
    assert "many" not in query


def test_pointers_are_the_titles_that_a_page_sends_its_reader_to():
    texts = [
        "For the unit itself see “Banknotes of Norway”. The film “Kon-Tiki” was shot there.",
        'What it is called stands in the article "Peaks of Norway: a list". See “Banknotes of Norway”.',
    ]
    assert pointers(texts) == ["Banknotes of Norway", "Peaks of Norway: a list"]
    assert pointers(["No quotes here.", ""]) == []
    assert pointers(["For its name open “Stars of Lyra”. It was logged in “A mate's notebook”. Read “-.-” aloud."]) == [
        "Stars of Lyra",
        "A mate's notebook",
    ]


def test_long_and_odd_passages_are_read_in_reasonable_time():
    start = time.perf_counter()
    for text in ("A " * 5000, "the capital is " * 2000, "“" * 3000, "1,000 " * 2000, "Norway, " * 2000):
        read("What is the capital of Norway?", [text], subject="Norway")
        pointers([text])
    assert time.perf_counter() - start < 20


@pytest.mark.skipif(not PHOTOS.exists(), reason="../shared/worlds/photos is missing")
def test_it_answers_a_fair_share_of_freely_worded_questions_given_the_sentence_that_answers():
    rows = [json.loads(line) for line in (PHOTOS / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    asked = [row for row in rows if row["needs_search"]]
    judge = get_judge("rules")
    right = 0
    for row in asked:
        answer = read(row["question"], [row["evidence"]]).answer
        right += answer is not None and judge.judge(row["question"], row["answers"], answer).correct
    assert right / len(asked) >= 0.35
