"""The facts of the atlas, compared with the reference data where that is at hand."""

import csv
import json
import re
from html import unescape
from pathlib import Path

import pytest

from worldgen.knowledge.facts import TABLES, load_facts

REFERENCE = Path(__file__).parents[2] / "shared" / "worlds" / "facts"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"no reference facts in {REFERENCE}")

SAMPLE = {
    "norway": "europe/no",
    "kenya": "africa/ke",
    "brazil": "south-america/br",
    "japan": "east-n-southeast-asia/ja",
    "canada": "north-america/ca",
    "india": "south-asia/in",
    "egypt": "africa/eg",
    "poland": "europe/pl",
    "fiji": "australia-oceania/fj",
    "mongolia": "east-n-southeast-asia/mg",
    "uzbekistan": "central-asia/uz",
    "jamaica": "central-america-n-caribbean/jm",
    "jordan": "middle-east/jo",
    "peru": "south-america/pe",
    "zambia": "africa/za",
}


@pytest.fixture(scope="module")
def facts():
    return load_facts()


def _country(facts, slug):
    return next(entity for entity in facts.of_kind("country") if entity.id == f"country:{slug}")


def _sheet(path):
    return json.loads((REFERENCE / "countries" / f"{path}.json").read_text(encoding="utf-8"))


@needs_reference
@pytest.mark.parametrize("slug", sorted(SAMPLE))
def test_capitals_agree_with_the_reference(facts, slug):
    told = unescape(_sheet(SAMPLE[slug])["Government"]["Capital"]["name"]["text"])
    assert any(told.startswith(answer) for answer in _country(facts, slug).values["capital"].answers)


@needs_reference
@pytest.mark.parametrize("slug", sorted(SAMPLE))
def test_currencies_agree_with_the_reference(facts, slug):
    told = _sheet(SAMPLE[slug])["Economy"]["Exchange rates"]["Currency"]["text"].casefold()
    # The reference has plurals ("kroner", "zlotych"): four letters of the unit's own name are compared.
    units = {answer.split()[-1].casefold()[:4] for answer in _country(facts, slug).values["currency"].answers}
    assert any(unit in told for unit in units)


@needs_reference
@pytest.mark.parametrize("slug", sorted(SAMPLE))
def test_areas_agree_with_the_reference(facts, slug):
    area = _sheet(SAMPLE[slug])["Geography"]["Area"]
    told = next(value["text"] for key, value in area.items() if key.strip() == "total")
    assert _country(facts, slug).values["area"].number == float(told.split()[0].replace(",", ""))


@needs_reference
def test_element_numbers_and_symbols_agree_with_the_reference(facts):
    text = (REFERENCE / "dict_elements_public_domain.txt").read_text(encoding="latin-1")
    told = dict(re.findall(r"^Symbol: (\w+)\nAtomic number: (\d+)$", text, re.MULTILINE))
    elements = facts.of_kind("element")
    assert len(elements) == 92
    for element in elements:
        assert told[element.values["symbol"].text] == element.values["number"].text, element.id


def test_the_longest_border_leads_to_a_country_of_the_table(facts):
    by_name = {entity.name: entity for entity in facts.of_kind("country")}
    for entity in by_name.values():
        if "longest_neighbour" in entity.values:
            assert entity.values["longest_neighbour"].text in by_name, entity.id


def test_borders_are_listed_on_both_sides_and_counted():
    with (TABLES / "countries.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    listed = {row["name"]: {pair.split("=")[0] for pair in row["neighbours"].split(";") if pair} for row in rows}
    for row in rows:
        if row["neighbour_count"] not in ("", "0"):
            assert int(row["neighbour_count"]) == len(listed[row["name"]]), row["name"]
            assert {name for name, others in listed.items() if row["name"] in others} <= listed[row["name"]], row[
                "name"
            ]


def test_the_constellations_fill_the_sky(facts):
    constellations = facts.of_kind("constellation")
    assert len(constellations) == 88
    # 41,253 square degrees; every area is rounded to a whole number.
    assert abs(sum(one.values["area"].number for one in constellations) - 41_253) <= 44
    by_rank = sorted(constellations, key=lambda one: one.values["area_rank"].number)
    assert [one.values["area_rank"].number for one in by_rank] == list(range(1, 89))
    areas = [one.values["area"].number for one in by_rank]
    assert areas == sorted(areas, reverse=True)


def test_only_elements_are_held_out_and_every_other_split_has_many(facts):
    splits: dict[str, set[str]] = {}
    for kind in ("country", "signal", "constellation", "element"):
        for entity in facts.of_kind(kind):
            splits.setdefault(facts.split(entity.id), set()).add(kind)
    assert splits["ood"] == {"element"}
    assert all(splits[split] == {"country", "signal", "constellation"} for split in ("train", "validation", "test"))
