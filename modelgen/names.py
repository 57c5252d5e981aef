"""Dialogues under new names: a policy that is to read cannot be allowed to know the answers by heart.

Each dialogue is cut once into literal text and slots; a slot is a name, an answer or a number. Filling the slots with
invented names, the same one wherever the same text stood, gives a new dialogue about a world that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from worldgen.knowledge.facts import load_facts

_PROPER = (
    "capital highest_point independent_from longest_neighbour brightest_star genitive anthem introduced_by holiday "
    "next former_capital currency former_currency"
)
_NUMBER = r"\d+(?:[.,]\d+)*"
_INSIDE = rf"(?<![\d\n])(?<!^){_NUMBER}"
"""A number that does not begin a line, where it would only count results."""
_ONSETS = tuple("b br c ch cl d dr f fl g gr h j k kl l m n p pl qu r s sh sk st t th tr v w y z".split())  # noqa: SIM905
_VOWELS = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "ai", "ea", "ia", "io", "ou"]
_ENDS = ["", "", "", "n", "r", "s", "l", "m", "t", "nd", "rk", "x", "th", "ng"]


@dataclass(frozen=True, slots=True)
class Template:
    """Texts cut into literals and slots.

    Attributes:
        texts: each text as literals (str) and slots (int, an index into `fillers`).
        fillers: what stood in each slot.
    """

    texts: tuple[tuple[str | int, ...], ...]
    fillers: tuple[str, ...]

    def fill(self, fillers: Sequence[str]) -> list[str]:
        """Return the texts with these fillers in the slots."""
        return ["".join(part if isinstance(part, str) else fillers[part] for part in text) for text in self.texts]


def known_names() -> list[str]:
    """Return every proper name of atlas's tables that a dialogue may hold."""
    names: set[str] = set()
    for entity in load_facts().entities.values():
        names.update({entity.name, entity.star})
        for attribute in _PROPER.split():
            value = entity.values.get(attribute)
            if value is not None:
                names.update(value.answers)
    return sorted(name for name in names if len(name) > 2 and name[:1].isupper())


class Cutter:
    """Cuts texts at the names that it knows.

    Args:
        names: proper names.
    """

    def __init__(self, names: Iterable[str]) -> None:
        """Compile the names into one pattern, longer ones first."""
        self._names = sorted(names, key=lambda name: (-len(name), name))

    def cut(self, texts: Sequence[str], answers: Sequence[str], *, numbers: bool) -> Template:
        """Cut `texts`.

        Args:
            texts: the texts of one dialogue; the same name in two of them is the same slot.
            answers: strings of this dialogue that are slots as well, names or not.
            numbers: whether numbers are slots.
        """
        whole = "\n".join(texts)
        wanted = [name for name in self._names if name in whole]
        wanted += [answer for answer in answers if answer in whole and len(answer) > 1 and answer not in wanted]
        wanted.sort(key=lambda name: (-len(name), name))
        choices = [rf"(?<!\w){re.escape(name)}(?!\w)" for name in wanted]
        if numbers:
            choices.append(_INSIDE)
        if not choices:
            return Template(tuple((text,) for text in texts), ())
        pattern = re.compile("|".join(choices))
        slots: dict[str, int] = {}
        cut = []
        for text in texts:
            parts: list[str | int] = []
            position = 0
            for match in pattern.finditer(text):
                parts += [text[position : match.start()], slots.setdefault(match.group(), len(slots))]
                position = match.end()
            cut.append((*parts, text[position:]))
        return Template(tuple(cut), tuple(slots))


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What names are made of, so that each of a tokenizer's ids comes up in some name.

    Attributes:
        pieces: lower-case pieces of words.
        common: whole words in lower case.
        proper: whole words with a capital.
    """

    pieces: Sequence[str]
    common: Sequence[str]
    proper: Sequence[str]

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Take them from the entries of a byte-level tokenizer, where `Ġ` stands for a space."""
        ordered = sorted(entries)
        return cls(
            [entry for entry in ordered if re.fullmatch(r"[a-z]{2,7}", entry)],
            [entry[1:] for entry in ordered if re.fullmatch(r"Ġ[a-z]{4,}", entry)],
            [entry[1:] for entry in ordered if re.fullmatch(r"Ġ[A-Z][a-z]+", entry)],
        )


def invent(filler: str, vocabulary: Vocabulary, rng: np.random.Generator) -> str:
    """Return something of the same form as `filler` that means nothing: number for number, word for word.

    A number keeps its unit or ending.
    """
    if filler[:1].isdigit():
        return re.sub(_NUMBER, lambda match: _number(match.group(), rng), filler)
    return re.sub(r"\w+", lambda match: _word(match.group(), vocabulary, rng), filler)


def invent_all(
    fillers: Sequence[str], vocabulary: Vocabulary, rng: np.random.Generator, keep: float = 0.0
) -> list[str]:
    """Return new fillers, all different; each is kept as it was with probability `keep`."""
    taken: dict[str, None] = {}
    for filler in fillers:
        fresh = filler if rng.random() < keep else invent(filler, vocabulary, rng)
        while fresh in taken:
            fresh = invent(filler, vocabulary, rng) + ("" if rng.random() < 0.5 else _digit(rng))
        taken[fresh] = None
    return list(taken)


def _number(text: str, rng: np.random.Generator) -> str:
    figures = [_digit(rng) if mark.isdigit() else mark for mark in text]
    if figures[0] == "0" and len(figures) > 1 and figures[1].isdigit():
        figures[0] = str(int(rng.integers(1, 10)))
    return "".join(figures)


def _digit(rng: np.random.Generator) -> str:
    return str(int(rng.integers(10)))


def _word(word: str, vocabulary: Vocabulary, rng: np.random.Generator) -> str:
    if word.isdigit():
        return _number(word, rng)
    if word in {"of", "the", "and", "de", "la"}:
        return word
    capital = word[:1].isupper()
    kind = rng.random()
    if kind < 0.4:
        return _one(vocabulary.proper if capital else vocabulary.common, rng)
    if kind < 0.7:
        made = "".join(_syllable(rng) for _ in range(int(rng.integers(1, 4)))) + _one(_ENDS, rng)
    else:
        made = "".join(_one(vocabulary.pieces, rng) for _ in range(int(rng.integers(1, 4))))
    return made.capitalize() if capital else made


def _one(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _syllable(rng: np.random.Generator) -> str:
    return _one(_ONSETS, rng) + _one(_VOWELS, rng)
