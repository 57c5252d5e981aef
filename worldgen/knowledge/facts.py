"""The facts behind atlas: tables of entities, and each attribute as a page states it and as an answer gives it."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

TABLES = Path(__file__).parent.parent / "tables"

Row = Mapping[str, str]

_ARTICLES = (
    "bahamas central-african-republic comoros democratic-republic-of-the-congo dominican-republic gambia maldives "
    "marshall-islands netherlands philippines republic-of-the-congo solomon-islands united-arab-emirates "
    "united-kingdom united-states"
)
_WITH_ARTICLE = frozenset(_ARTICLES.split())
_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
_COUNTED = _NUMBERS.split()


@dataclass(frozen=True)
class Value:
    """One fact about one entity.

    Attributes:
        text: as pages state it.
        answers: as an answer may give it, the canonical one first.
        number: its size, where it can be compared.
    """

    text: str
    answers: tuple[str, ...]
    number: float | None = None


@dataclass(frozen=True)
class Entity:
    """Something that has pages, and perhaps a picture.

    Attributes:
        id: `<kind>:<slug>`.
        kind: `country`, `signal`, `constellation` or `element`.
        slug: unique in its kind.
        name: as in a title.
        inside: the name within a sentence.
        values: attribute -> fact; an attribute that is not known is absent.
        star: for a constellation, the name of its brightest star.
    """

    id: str
    kind: str
    slug: str
    name: str
    inside: str
    values: Mapping[str, Value]
    star: str = ""

    @property
    def start(self) -> str:
        """The name at the start of a sentence."""
        return self.inside[:1].upper() + self.inside[1:]


class Facts:
    """All entities by id, in the order of the tables."""

    def __init__(self, entities: Mapping[str, Entity]) -> None:
        """Take the entities by id."""
        self.entities = entities

    def of_kind(self, kind: str) -> list[Entity]:
        """Return the entities of one kind."""
        return [entity for entity in self.entities.values() if entity.kind == kind]

    def named(self, kind: str, name: str) -> Entity | None:
        """Return the entity of a kind that has this name, if there is one."""
        return next((entity for entity in self.of_kind(kind) if entity.name == name), None)

    @staticmethod
    def split(entity_id: str) -> str:
        """Return the split of an entity, a function of its id alone: elements are `ood`, others about 60/12/28."""
        if entity_id.startswith("element:"):
            return "ood"
        share = int.from_bytes(hashlib.sha256(f"atlas split {entity_id}".encode()).digest()[:4], "big") % 100
        return "train" if share < 60 else "validation" if share < 72 else "test"


def load_facts() -> Facts:
    """Read the tables."""
    former = {row["slug"]: row for row in _rows("former")}
    entities = {}
    for kind, (table, read) in _READERS.items():
        for row in _rows(table):
            name, inside, star, values = read(row)
            entity_id = f"{kind}:{row['slug']}"
            if kind == "country" and row["slug"] in former:
                past = former[row["slug"]]
                values += [(name, _words(past[name])) for name in ("former_capital", "former_currency")]
            known = {attribute: value for attribute, value in values if value is not None}
            entities[entity_id] = Entity(entity_id, kind, row["slug"], name, inside, known, star)
    return Facts(entities | _followed(entities))


def _followed(entities: Mapping[str, Entity]) -> dict[str, Entity]:
    """Tell each letter's flag and each numeral pennant which one comes next."""
    followed = {}
    signals = [entity for entity in entities.values() if entity.kind == "signal"]
    for entity, following in pairwise(signals):
        marks = [signal.values["letter"].text for signal in (entity, following) if "letter" in signal.values]
        if len(marks) == 2 and marks[0].isalpha() == marks[1].isalpha():
            values = {**entity.values, "next": Value(following.name, (following.name,))}
            followed[entity.id] = replace(entity, values=values)
    return followed


def _rows(table: str) -> Iterator[Row]:
    with (TABLES / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


Read = tuple[str, str, str, list[tuple[str, Value | None]]]


def _words(cell: str, *more: str) -> Value | None:
    """Read a cell of words: `first;alias;alias`."""
    if not cell:
        return None
    names = [name.strip() for name in cell.split(";")]
    return Value(names[0], tuple(dict.fromkeys([*names, *more])))


def _people(cell: str) -> Value | None:
    """Read a cell that names people: all of them are stated, and each is an answer."""
    if not cell:
        return None
    names = [name.strip() for name in cell.split(";")]
    joined = " and ".join(names)
    return Value(joined, tuple(dict.fromkeys([joined, *names])))


def _year(cell: str) -> Value | None:
    return Value(cell, (cell,), float(cell)) if cell else None


def _measure(cell: str, unit: str, *names: str) -> Value | None:
    """Read a number with its unit; the answers have it with thousands separators and under each name of the unit."""
    if not cell:
        return None
    cell = cell.replace(",", "")
    number = float(cell)
    whole = "." not in cell
    written = f"{int(number):,}" if whole else cell
    plain = str(int(number)) if whole else cell
    answers = [f"{written} {unit}", *(f"{written} {name}" for name in names), f"{plain} {unit}"]
    return Value(answers[0], tuple(dict.fromkeys(answers)), number)


def _country(row: Row) -> Read:
    name = row["name"]
    inside = f"the {name}" if row["slug"] in _WITH_ARTICLE else name
    population = row["population"]
    people = f"{int(population):,}" if population else ""
    count = row["neighbour_count"]
    states = ""
    if count and count != "0":
        states = "1 state" if count == "1" else f"{count} states"
    spelled = _COUNTED[int(count)] if count and int(count) < len(_COUNTED) else count
    values = [
        ("long_name", _words(row["long_name"])),
        ("continent", _words(row["continent"])),
        ("capital", _words(row["capital"])),
        ("currency", _words(row["currency"])),
        ("area", _measure(row["area_km2"], "km²", "square kilometres")),
        ("population", Value(f"{people} people", (people, f"{people} people"), float(population)) if people else None),
        ("highest_point", _words(row["highest_point"])),
        ("highest_metres", _measure(row["highest_m"], "m", "metres")),
        ("longest_neighbour", _words(row["longest_neighbour"])),
        ("neighbour_count", Value(states, (count, states, spelled), float(count)) if states else None),
        ("independence_year", _year(row["independence_year"])),
        ("independent_from", _words(row["independent_from"])),
        ("internet_code", _words(row["internet_code"])),
        ("aircraft_prefix", _words(row["aircraft_prefix"])),
        ("anthem", _words(row["anthem"])),
        ("symbol", _words(row["symbol"])),
        ("top_export", _words(row["top_export"])),
        ("coastline", _measure(row["coastline_km"], "km", "kilometres")),
    ]
    return name, inside, "", values


def _constellation(row: Row) -> Read:
    star = row["brightest_star"]
    rank = row["area_rank"]
    values = [
        ("abbreviation", _words(row["abbreviation"])),
        ("genitive", _words(row["genitive"])),
        ("meaning", _words(row["meaning"])),
        ("introduced_by", _people(row["introduced_by"])),
        ("area", _measure(row["area_deg2"], "square degrees")),
        ("area_rank", Value(_ordinal(rank), (_ordinal(rank), rank), float(rank)) if rank else None),
        ("brightest_star", _words(star)),
        ("hemisphere", _words(row["hemisphere"])),
        (
            "star_magnitude",
            Value(row["magnitude"], (row["magnitude"],), float(row["magnitude"])) if row["magnitude"] else None,
        ),
        ("star_distance", _measure(row["distance_ly"], "light-years", "light years")),
    ]
    return row["name"], row["name"], star, values


def _element(row: Row) -> Read:
    values = [
        ("symbol", _words(row["symbol"])),
        ("number", Value(row["number"], (row["number"],), float(row["number"]))),
        (
            "mass",
            Value(row["mass"], (row["mass"],), float(row["mass"]))
            if row["mass"] and not row["longest_lived"]
            else None,
        ),
        ("group", _words(row["group"])),
        ("period", _words(row["period"])),
        ("category", _words(row["category"])),
        ("melting", _measure(row["melting_c"], "°C")),
        ("boiling", _measure(row["boiling_c"], "°C")),
        ("year", _year(row["year"])),
        ("discoverer", _people(row["discoverer"])),
        ("origin", _words(row["origin"])),
    ]
    return row["name"], row["name"].lower(), "", values


def _signal(row: Row) -> Read:
    name = row["name"]
    inside = (
        f"the {name} flag"
        if row["letter"].isalpha()
        else f"the {name} pennant"
        if row["letter"]
        else f"the {name.lower()}"
    )
    values = [
        (
            "letter",
            Value(row["letter"], tuple(filter(None, (row["letter"], row["numeral"])))) if row["letter"] else None,
        ),
        ("name", _words(name) if row["letter"] else None),
        ("morse", _words(row["morse"])),
        ("meaning", _words(row["meaning"])),
    ]
    return name, inside, "", values


def _ordinal(number: str) -> str:
    ending = "th" if number[-2:] in ("11", "12", "13") else {"1": "st", "2": "nd", "3": "rd"}.get(number[-1], "th")
    return number + ending


_READERS: Mapping[str, tuple[str, Callable[[Row], Read]]] = {
    "country": ("countries", _country),
    "signal": ("signals", _signal),
    "constellation": ("constellations", _constellation),
    "element": ("elements", _element),
}
