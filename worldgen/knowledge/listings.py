"""Pages that are about many entities, or about something that only sounds like one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmsearch_env.records import Document
from worldgen.knowledge.facts import Entity, Facts

_LOOK_ALIKES = Path(__file__).parent / "prose" / "look_alikes.toml"
_LONGEST = 15
_CAUTION = "What is not known for certain was left out, so the list may have gaps. Ties stand in no special order."


@dataclass(frozen=True)
class _Ranking:
    """One kind of list: what is ranked, by what, in groups of what."""

    kind: str
    attribute: str
    title: str
    intro: str
    group: str


_RANKINGS = (
    _Ranking("country", "area", "The largest countries: {group}", "Total areas, largest first.", "continent"),
    _Ranking(
        "country", "population", "The most populous countries: {group}", "Population estimates, in order.", "continent"
    ),
    _Ranking(
        "country", "highest_metres", "Countries by their topmost summit: {group}", "Elevations, in order.", "continent"
    ),
    _Ranking("country", "coastline", "The longest coasts: {group}", "Coastlines, longest first.", "continent"),
    _Ranking(
        "constellation", "area", "Constellations by size: {group} sky", "Areas on the sphere, in order.", "hemisphere"
    ),
    _Ranking("element", "melting", "Elements by melting point: {group}", "Highest first.", "category"),
    _Ranking("element", "number", "Elements by atomic number: {group}", "Highest first.", "category"),
)


def listing_pages(facts: Facts) -> list[Document]:
    """Write the lists: each kind by each measure, in groups, and the signal flags by letter."""
    return [*_ranked(facts), *_signal_lists(facts)]


def _ranked(facts: Facts) -> Iterator[Document]:
    for ranking in _RANKINGS:
        groups: dict[str, list[Entity]] = {}
        for entity in facts.of_kind(ranking.kind):
            if ranking.attribute in entity.values and ranking.group in entity.values:
                groups.setdefault(entity.values[ranking.group].text, []).append(entity)
        for group in sorted(groups):
            members = sorted(groups[group], key=lambda entity: (-_number(entity, ranking.attribute), entity.id))[
                :_LONGEST
            ]
            if len(members) >= 3:
                rows = [f"{member.name}, {member.values[ranking.attribute].text}." for member in members]
                title = ranking.title.format(group=group)
                yield _listing(
                    f"{ranking.kind}-{ranking.attribute}-{group}", title, [ranking.intro, _CAUTION, *rows], members
                )


def _number(entity: Entity, attribute: str) -> float:
    return entity.values[attribute].number or 0.0


def _signal_lists(facts: Facts) -> Iterator[Document]:
    signals = [entity for entity in facts.of_kind("signal") if "letter" in entity.values]
    letters = [entity for entity in signals if entity.values["letter"].text.isalpha()]
    for start in range(0, len(letters), 9):
        members = letters[start : start + 9]
        rows = [f"{member.values['letter'].text} is spoken as {member.name}." for member in members]
        first, last = members[0].values["letter"].text, members[-1].values["letter"].text
        yield _listing(f"signal-{first}-{last}", f"Code words from {first} to {last}", rows, members)


def _listing(name: str, title: str, sentences: Sequence[str], members: Sequence[Entity]) -> Document:
    slug = name.lower().replace(" ", "-")
    return Document(
        id=f"list/{slug}",
        title=title,
        url=f"https://lists.example/{slug}",
        text=" ".join(sentences),
        domain=members[0].kind,
        metadata={"entities": [member.id for member in members], "style": "list"},
    )


def look_alike_pages() -> list[Document]:
    """Read the pages about things that share a name, or nearly, with an entity."""
    with _LOOK_ALIKES.open("rb") as file:
        entries = tomllib.load(file)["pages"]
    return [
        Document(
            id=f"look-alike/{entry['slug']}",
            title=entry["title"],
            url=f"https://encyclopedia.example/{entry['slug']}",
            text=entry["text"],
            domain="look-alike",
            metadata={"style": "look-alike"},
        )
        for entry in entries
    ]
