"""Dialogues under new names: a policy that is to read cannot be allowed to know the answers by heart.

Each dialogue is cut once into literal text and slots; a slot is a name, an answer or a number. Filling the slots with
invented names, the same one wherever the same text stood, gives a new dialogue about a world that does not exist.
"""

from __future__ import annotations

import math
import re
import string
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
_NUMBERS = re.compile(_NUMBER)
_INSIDE = rf"(?<![\d\n])(?<!^){_NUMBER}"
"""A number that does not begin a line, where it would only count results."""
_ONSETS = tuple("b br c ch cl d dr f fl g gr h j k kl l m n p pl qu r s sh sk st t th tr v w y z".split())  # noqa: SIM905
_VOWELS = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "ai", "ea", "ia", "io", "ou"]
_ACCENTS = {"a": "áàâãäå", "c": "çć", "e": "éèêë", "i": "íî", "n": "ñ", "o": "óôõöø", "s": "š", "u": "úü", "z": "ž"}
_ENDS = ["", "", "", "n", "r", "s", "l", "m", "t", "nd", "rk", "x", "th", "ng"]


@dataclass(frozen=True, slots=True)
class Template:
    """Texts cut into literals and slots.

    Attributes:
        texts: each text as literals (str) and slots (int, an index into `fillers`).
        fillers: what stood in each slot.
        ordered: whether the larger of two numbers must stay the larger one.
    """

    texts: tuple[tuple[str | int, ...], ...]
    fillers: tuple[str, ...]
    ordered: bool = False

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

    def cut(self, texts: Sequence[str], answers: Sequence[str], *, ordered: bool = False) -> Template:
        """Cut `texts`.

        Args:
            texts: the texts of one dialogue; the same name in two of them is the same slot.
            answers: strings of this dialogue that are slots as well, names or not.
            ordered: whether the larger of two numbers must stay the larger one.
        """
        whole = "\n".join(texts)
        wanted = [name for name in self._names if name in whole]
        wanted += [answer for answer in answers if answer in whole and len(answer) > 1 and answer not in wanted]
        wanted.sort(key=lambda name: (-len(name), name))
        choices = [rf"(?<!\w){re.escape(name)}(?!\w)" for name in wanted]
        pattern = re.compile("|".join([*choices, _INSIDE]))
        slots: dict[str, int] = {}
        cut = []
        for text in texts:
            parts: list[str | int] = []
            position = 0
            for match in pattern.finditer(text):
                parts += [text[position : match.start()], slots.setdefault(match.group(), len(slots))]
                position = match.end()
            cut.append((*parts, text[position:]))
        return Template(tuple(cut), tuple(slots), ordered)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What names are made of, so that each of a tokenizer's ids for plain letters comes up in some name.

    Attributes:
        pieces: what words go on with.
        common: words in lower case, or what they begin with.
        proper: the same with a capital.
        starts: one to three letters that words in lower case begin with.
        capitals: the same with a capital.
    """

    pieces: Sequence[str]
    common: Sequence[str]
    proper: Sequence[str]
    starts: Sequence[str]
    capitals: Sequence[str]

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Take them from the entries of a byte-level tokenizer, where `Ġ` stands for a space."""
        ordered = sorted(entries)

        def those(form: str) -> list[str]:
            return [entry.removeprefix("Ġ") for entry in ordered if re.fullmatch(form, entry)]

        return cls(
            those("[a-z]{2,}"),
            those("Ġ[a-z]{2,}"),
            those("Ġ[A-Z][a-z]+"),
            those("Ġ[a-z]{1,3}"),
            those("Ġ[A-Z][a-z]{0,2}"),
        )


def invent(filler: str, vocabulary: Vocabulary, rng: np.random.Generator) -> str:
    """Return something of the same form as `filler` that means nothing: number for number, word for word.

    A number keeps its unit or ending; dots and dashes are Morse code; up to three letters are taken for an
    abbreviation.
    """
    if filler[:1].isdigit():
        return _NUMBERS.sub(lambda match: _number(match.group(), rng), filler)
    if set(filler) <= {".", "-"}:
        return "".join(_one(".-", rng) for _ in range(int(rng.integers(1, 6))))
    if len(filler.removeprefix(".")) <= 3:
        return re.sub(r"\w", lambda match: _letter(match.group(), rng), filler)
    return re.sub(r"\w+", lambda match: _word(match.group(), vocabulary, rng), filler)


def invent_all(template: Template, vocabulary: Vocabulary, rng: np.random.Generator, keep: float = 0.0) -> list[str]:
    """Return new fillers; each is kept as it was with probability `keep`, and different ones stay different.

    Where the numbers have an order all are multiplied by the same factor.
    """
    factor = 1.0 if rng.random() < keep else float(np.exp(rng.uniform(0.0, 3.0)))
    made: list[str] = []
    for filler in template.fillers:
        if template.ordered and filler[:1].isdigit():
            made.append(_NUMBERS.sub(lambda match: _multiplied(match.group(), factor), filler))
            continue
        fresh = filler if rng.random() < keep else invent(filler, vocabulary, rng)
        while fresh in made:
            fresh = invent(filler, vocabulary, rng) + ("" if rng.random() < 0.5 else _digit(rng))
        made.append(fresh)
    return made


def _multiplied(text: str, factor: float) -> str:
    """Multiply a number by a factor of at least 1, so that a larger one stays larger."""
    whole, _, decimals = text.replace(",", "").partition(".")
    unit = 10 ** len(decimals)
    product = math.floor(int(whole + decimals) * factor) / unit
    grouped = "," in text or len(whole) < 4
    return f"{product:{',' if grouped else ''}.{len(decimals)}f}"


def _number(text: str, rng: np.random.Generator) -> str:
    figures = [_digit(rng) if mark.isdigit() else mark for mark in text]
    if figures[0] == "0" and len(figures) > 1 and figures[1].isdigit():
        figures[0] = str(int(rng.integers(1, 10)))
    return "".join(figures)


def _digit(rng: np.random.Generator) -> str:
    return str(int(rng.integers(10)))


def _letter(mark: str, rng: np.random.Generator) -> str:
    if mark.isdigit():
        return _digit(rng)
    return _one(string.ascii_uppercase if mark.isupper() else string.ascii_lowercase, rng)


def _word(word: str, vocabulary: Vocabulary, rng: np.random.Generator) -> str:
    if word.isdigit():
        return _number(word, rng)
    if word in {"of", "the", "and", "de", "la"}:
        return word
    capital = word[:1].isupper()
    kind = rng.random()
    if kind < 0.3:
        made = _one(vocabulary.proper if capital else vocabulary.common, rng)
    elif kind < 0.45:
        made = "".join(_syllable(rng) for _ in range(int(rng.integers(1, 4)))) + _one(_ENDS, rng)
        made = made.capitalize() if capital else made
    else:
        made = _one(vocabulary.capitals if capital else vocabulary.starts, rng)
        made += "".join(_one(vocabulary.pieces, rng) for _ in range(int(rng.integers(1, 3))))
    return _accented(made, rng) if rng.random() < 0.08 else made


def _accented(word: str, rng: np.random.Generator) -> str:
    """Give one letter an accent, if it has any that can have one."""
    places = [place for place, letter in enumerate(word) if letter in _ACCENTS]
    if not places:
        return word
    place = places[int(rng.integers(len(places)))]
    return word[:place] + _one(_ACCENTS[word[place]], rng) + word[place + 1 :]


def _one(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _syllable(rng: np.random.Generator) -> str:
    return _one(_ONSETS, rng) + _one(_VOWELS, rng)
