"""Words the questions that need a search, category by category."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from worldgen.knowledge.facts import Entity, Facts, Value
from worldgen.knowledge.pages import detours_of, fill
from worldgen.knowledge.prose import Prose, choose, load_prose
from worldgen.scene_records import Item


@dataclass(frozen=True)
class Draft:
    """A question and how to answer it.

    Attributes:
        question: the question.
        answers: the accepted answers, the canonical one first.
        attribute: what it asks for.
        hops: how many facts have to be looked up.
        queries: the text searches that find the answer, in order.
        finds: what each of them has to find, as accepted strings.
        decoy_query: for a refine question, the obvious query, which must not find an answer.
        options: answers that stand in the question because it offers them.
    """

    question: str
    answers: tuple[str, ...]
    attribute: str
    hops: int
    queries: tuple[str, ...]
    finds: tuple[tuple[str, ...], ...]
    decoy_query: str | None = None
    options: tuple[str, ...] = ()


_TWO_HOPS: Mapping[str, tuple[str, ...]] = {
    "country": (
        "the neighbour with which {owner} shares its longest land border",
        "the country across the longest land border of {owner}",
        "the neighbour that has the longest land border with {owner}",
    ),
    "element": (
        "the element listed in the periodic table right after {owner}",
        "the element whose atomic number is one higher than that of {owner}",
    ),
    "signal": (
        "the signal listed right after {owner} in the locker order",
        "the signal listed right after {owner} in the order of the alphabet or the numbers",
    ),
}
_SECOND: Mapping[str, tuple[str, ...]] = {
    "country": ("capital", "currency", "area", "population", "highest_point", "internet_code", "top_export"),
    "element": ("symbol", "category", "melting", "boiling", "year", "discoverer", "origin"),
    "signal": ("meaning", "morse"),
}
# Of the brightest star of a constellation; asking for them takes two look-ups although {owner} is the constellation.
_STAR = ("star_distance", "star_magnitude")

_COMPARED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "country": {
        "area": (
            "Which has the larger total area, {owner} or {other}?",
            "Which of the two covers more square kilometres in all: {owner}, or {other}?",
            "Going by total area, which is larger: {other}, or {owner}?",
        ),
        "population": (
            "Which has the larger estimated population, {owner} or {other}?",
            "Where do more people live, by recent estimates: in {owner}, or in {other}?",
            "Which is home to more people, {other} or {owner}?",
        ),
        "highest_metres": (
            "Which has the higher topmost summit, {owner} or {other}?",
            "Where does the ground reach the greater elevation: in {owner}, or in {other}?",
        ),
        "coastline": (
            "Which has the longer coastline, {owner} or {other}?",
            "Whose coastline is longer: that of {owner}, or that of {other}?",
        ),
    },
    "constellation": {
        "area": (
            "Which covers the larger area of the sky, {owner} or {other}?",
            "Which takes up more square degrees: {owner}, or {other}?",
            "Going by area on the sphere, which is larger: {other}, or {owner}?",
        ),
    },
    "element": {
        "melting": (
            "Which melts at the higher temperature, {owner} or {other}?",
            "Which has the higher melting point: {owner}, or {other}?",
        ),
        "number": (
            "Which has the higher atomic number, {owner} or {other}?",
            "Which stands later in the periodic table: {owner}, or {other}?",
        ),
        "mass": ("Which has the higher atomic weight, {owner} or {other}?",),
    },
}
_NAMED_WINS = 0.4
_CLEARLY = 1.25


def ask_one_hop(item: Item, facts: Facts, rng: np.random.Generator) -> Draft | None:
    """Ask for a fact that one search for the entity finds."""
    entity = facts.entities[item.entity]
    prose = load_prose(entity.kind)
    hidden = detours_of(entity)
    open_to_ask = [
        name
        for name in _asked(entity, prose)
        if name not in hidden and name not in _STAR and _not_the_name(entity, name)
    ]
    if not open_to_ask:
        return None
    attribute = choose(open_to_ask, rng)
    value = entity.values[attribute]
    return Draft(
        question=_question(prose, attribute, _owner(item, prose, rng), rng),
        answers=value.answers,
        attribute=attribute,
        hops=1,
        queries=(_query(entity, attribute),),
        finds=(value.answers,),
    )


def ask_refine(item: Item, facts: Facts, rng: np.random.Generator) -> Draft | None:
    """Ask for a fact that the obvious query does not find, but a page that it finds points to."""
    entity = facts.entities[item.entity]
    prose = load_prose(entity.kind)
    hidden = [name for name in detours_of(entity) if prose.attributes[name].questions]
    if not hidden:
        return None
    attribute = choose(hidden, rng)
    value = entity.values[attribute]
    obvious, target = _query(entity, attribute), fill(prose.detours[attribute].title, entity)
    return Draft(
        question=_question(prose, attribute, _owner(item, prose, rng), rng),
        answers=value.answers,
        attribute=attribute,
        hops=1,
        queries=(obvious, target),
        finds=((target,), value.answers),
        decoy_query=obvious,
    )


def ask_two_hop(item: Item, facts: Facts, rng: np.random.Generator) -> Draft | None:
    """Ask for a fact about something that has to be looked up first."""
    entity = facts.entities[item.entity]
    prose = load_prose(entity.kind)
    if entity.kind == "constellation":
        return _ask_star(item, entity, prose, rng)
    step = _first_hop(entity, facts)
    if step is None:
        return None
    other, query, finds = step
    hidden = detours_of(other)
    attributes = [name for name in _SECOND[entity.kind] if name in other.values and name not in hidden]
    if not attributes:
        return None
    attribute = choose(attributes, rng)
    value = other.values[attribute]
    owner = choose(_TWO_HOPS[entity.kind], rng).replace("{owner}", _owner(item, prose, rng))
    return Draft(
        question=_question(prose, attribute, owner, rng),
        answers=value.answers,
        attribute=attribute,
        hops=2,
        queries=(query, _query(other, attribute)),
        finds=(finds, value.answers),
    )


def _first_hop(entity: Entity, facts: Facts) -> tuple[Entity, str, tuple[str, ...]] | None:
    """Return the entity to go on to, the query that tells which it is, and what that query has to find."""
    if entity.kind == "country":
        name = "longest_neighbour"
        if name not in entity.values or name in detours_of(entity):
            return None
        other = facts.named("country", entity.values[name].text)
        return None if other is None else (other, _query(entity, name), entity.values[name].answers)
    if entity.kind == "element":
        number = int(entity.values["number"].number or 0) + 1
        following = (other for other in facts.of_kind("element") if other.values["number"].number == number)
        other = next(following, None)
        return None if other is None else (other, f"element with atomic number {number}", (other.name,))
    if "next" not in entity.values:
        return None
    other = facts.named("signal", entity.values["next"].text)
    return None if other is None else (other, _query(entity, "next"), entity.values["next"].answers)


def _ask_star(item: Item, entity: Entity, prose: Prose, rng: np.random.Generator) -> Draft | None:
    attributes = [name for name in _STAR if name in entity.values and name in prose.attributes]
    if "brightest_star" not in entity.values or "brightest_star" in detours_of(entity) or not attributes:
        return None
    attribute = choose(attributes, rng)
    value = entity.values[attribute]
    return Draft(
        question=_question(prose, attribute, _owner(item, prose, rng), rng),
        answers=value.answers,
        attribute=attribute,
        hops=2,
        queries=(_query(entity, "brightest_star"), fill(prose.attributes[attribute].query, entity)),
        finds=(entity.values["brightest_star"].answers, value.answers),
    )


def ask_comparison(item: Item, facts: Facts, rng: np.random.Generator) -> Draft | None:
    """Ask which of the pictured entity and a named one has more of something."""
    entity = facts.entities[item.entity]
    measures = [
        name
        for name in sorted(_COMPARED.get(entity.kind, {}))
        if name in entity.values and name not in detours_of(entity)
    ]
    if not measures:
        return None
    attribute = choose(measures, rng)
    named_wins = bool(rng.random() < _NAMED_WINS)
    own = _number(entity, attribute)
    others = [
        other
        for other in facts.of_kind(entity.kind)
        if other.id != entity.id
        and attribute in other.values
        and attribute not in detours_of(other)
        and _wins(_number(other, attribute), own) == named_wins
        and _wins(own, _number(other, attribute)) != named_wins
    ]
    if not others:
        return None
    other = choose(others, rng)
    winner = other if named_wins else entity
    owner = _owner(item, load_prose(entity.kind), rng)
    question = choose(_COMPARED[entity.kind][attribute], rng).replace("{owner}", owner).replace("{other}", other.inside)
    answers = tuple(dict.fromkeys([winner.name, winner.inside, *_long_name(winner)]))
    return Draft(
        question=question,
        answers=answers,
        attribute=attribute,
        hops=2,
        queries=(_query(entity, attribute), _query(other, attribute)),
        finds=(entity.values[attribute].answers, other.values[attribute].answers),
        options=answers if named_wins else (),
    )


def _wins(number: float, other: float) -> bool:
    """Say whether `number` is clearly larger: by a quarter if both are positive, else by 100 (degrees)."""
    return number > _CLEARLY * other if number > 0 and other > 0 else number > other + 100


def _number(entity: Entity, attribute: str) -> float:
    return entity.values[attribute].number or 0.0


def _long_name(entity: Entity) -> tuple[str, ...]:
    value: Value | None = entity.values.get("long_name")
    return () if value is None else value.answers


def _asked(entity: Entity, prose: Prose) -> list[str]:
    return [name for name in sorted(entity.values) if name in prose.attributes and prose.attributes[name].questions]


def _not_the_name(entity: Entity, attribute: str) -> bool:
    """Keep out values that the results of an image search already give away, such as a signal flag's own name."""
    return entity.values[attribute].text.casefold() not in entity.name.casefold()


def _owner(item: Item, prose: Prose, rng: np.random.Generator) -> str:
    """Return the words for the pictured entity; what is alone in its picture is "this flag", not "the flag"."""
    alone = len(item.expressions) == 1
    pointing = f"this {item.expression.removeprefix('the ')}" if alone else item.expression
    return choose(prose.owners[item.domain], rng).replace("{expression}", pointing)


def _question(prose: Prose, attribute: str, owner: str, rng: np.random.Generator) -> str:
    question = choose(prose.attributes[attribute].questions, rng).replace("{owner}", owner)
    return question[:1].upper() + question[1:]


def _query(entity: Entity, attribute: str) -> str:
    return fill(load_prose(entity.kind).attributes[attribute].query, entity)
