"""Tool answers are read back as a policy sees them."""

from __future__ import annotations

import pytest

from mmsearch_env.reading.results import Result, identify, name_in_title, read_results

TOLD = """<information>
1. Flag of Norway: A red field with a cross.
2. Norway: A country in the north. It has 2. something in it.
3. Flag of Iceland: A blue field.
</information>
Use these results."""


def test_numbered_results_come_back_in_order():
    assert read_results(TOLD) == [
        Result("Flag of Norway", "A red field with a cross."),
        Result("Norway", "A country in the north. It has 2. something in it."),
        Result("Flag of Iceland", "A blue field."),
    ]


def test_an_error_has_no_results():
    assert read_results("<information>Error: The image search may be used once only.</information>") == []


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Flag of Norway", "Norway"),
        ("National flag of the Gambia (print)", "Gambia"),
        ("Orion (constellation) chart", "Orion"),
        ("Emission spectrum of helium", "helium"),
        ("Outline map of Italy", "Italy"),
        ("Alfa signal flag", "Alfa"),
        ("Signal flag Alfa", "Alfa"),
        ("How Numeral nine looks", "Numeral nine"),
        ("Norway on the map: its shape", "Norway"),
        ("Norway: an overview", "Norway"),
        ("Chart of the constellation Draco", "Draco"),
        ("Spectral lines of helium", "helium"),
        ("Norway", "Norway"),
        ("Flag", "Flag"),
    ],
)
def test_a_title_gives_the_name_that_it_is_about(title, name):
    assert name_in_title(title) == name


def test_the_name_that_most_results_agree_on_wins():
    results = [Result(title, "") for title in ("Flag of Chad", "Flag of Norway", "Norway", "Peru")]
    assert identify(results) == "Chad"
    assert identify([*results, Result("Map of Norway", "")]) == "Norway"
    assert identify([]) is None


def test_lists_and_titles_without_a_name_do_not_vote():
    titles = ("The longest coasts: Asia", "Countries by area: Asia", "Poster", "Flag of Norway")
    assert identify([Result(title, "") for title in titles]) == "Norway"
    assert identify([Result(title, "") for title in titles[:3]]) is None
