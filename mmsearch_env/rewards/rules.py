"""Programmable rules for matching a short answer with the accepted ones: wording, word order, numbers and units.

The *whole* candidate has to match one accepted answer; an answer somewhere inside a longer text does not count, so
listing candidates gains nothing. What is tolerated around it:

* a lead-in such as "It is …", "The answer is …", "The capital is …" (see `strip_lead_in`), unless it negates;
* a preposition before it ("in 1887"), and a second measure in parentheses that says the same ("28 m (92 ft)").

Case, accents, punctuation, articles, "and" and the order of words are ignored. Figures are not: they keep their sign,
their decimal point and their order, so "5.2" is not "52", and "3-2" is not "2-3".
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from mmsearch_env.rewards.answers import is_give_up
from mmsearch_env.rewards.quantities import Quantity, Span, parse_quantity, same_quantity
from mmsearch_env.rewards.units import UnitConverter, is_measure, noun_of

MAX_CHARACTERS = 300
"""Longer candidates are no short answers and match nothing."""
MAX_LEAD_IN_WORDS = 12

_LETTERS = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "æ": "ae",
        "œ": "oe",
        "ı": "i",
        "&": " and ",
        "’": "'",
        "−": "-",
    }
)
_ACCENTS = re.compile("[\u0300-\u036f]")
_TOKEN = re.compile(r"(?:(?<![\w.)])-)?\d+(?:,\d{3})*(?:\.\d+)?(?:st|nd|rd|th)?|[^\W\d_]+|[^\W_]")
_IGNORED = frozenset({"a", "an", "the", "and"})
_ORDINAL_WORDS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
_ORDINAL_WORDS += ["eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth"]
_ORDINAL_WORDS += ["eighteenth", "nineteenth", "twentieth"]
_ORDINALS = {
    word: str(number) + {1: "st", 2: "nd", 3: "rd"}.get(number, "th") for number, word in enumerate(_ORDINAL_WORDS, 1)
}
_LEAD_IN = re.compile(
    r"(?P<head>(?:the|its|this|that|these|those|it|they|he|she|their|his|her)\b[^.:;!?]*?) ?"
    r"(?:\b(?:is|are|was|were)\b(?: called\b| named\b)?:?|'s\b) (?P<tail>.+)"
    r"|(?:final )?answer ?[:=] ?(?P<stated>.+)",
    re.I | re.S,
)
_NEGATION = re.compile(
    r"\b(?:not|no|never|neither|nor|none|cannot|without|except|unlike|wrong|false|incorrect|or|if|unknown|unsure)\b|n't\b",
    re.I,
)
_PREPOSITION = re.compile(r"(?:in|on|at|by|during)(?: the)?(?: year)? |(?:the )?year ", re.I)
_PARENTHESES = re.compile(r"(?P<outer>[^()]+?) ?\((?P<inner>[^()]+)\)[ .]*")


def matches(question: str, answers: Sequence[str], candidate: str, units: UnitConverter) -> bool:
    """Say whether `candidate` states one of the accepted `answers` to `question`."""
    if len(candidate) > MAX_CHARACTERS or is_give_up(candidate):
        return False
    forms = _forms(candidate)
    if any(same_words(form, answer) for form in forms for answer in answers):
        return True
    golds = [quantity for answer in answers if (quantity := parse_quantity(answer)) is not None]
    return any(
        same_quantity(stated, gold, units)
        for form in forms
        if (stated := _stated_quantity(form, units)) is not None
        for gold in _comparable(stated, golds, question)
    )


def same_words(candidate: str, answer: str) -> bool:
    """Say whether two texts hold the same words in any order and the same figures in the same order."""
    ours, theirs = _tokens(candidate), _tokens(answer)
    return bool(ours) and Counter(ours) == Counter(theirs) and figures(candidate) == figures(answer)


def figures(text: str) -> list[str]:
    """Return the numbers of a text in order, with sign and decimal point, without thousands separators."""
    return [token for token in _tokens(text) if token[-1].isdigit() or token[0].isdigit()]


def strip_lead_in(text: str) -> str | None:
    """Return what follows a lead-in such as "The capital is …", or None if there is none or it negates."""
    match = _LEAD_IN.fullmatch(text)
    if match is None:
        return None
    head = match["head"] or ""
    if _NEGATION.search(head) or len(head.split()) > MAX_LEAD_IN_WORDS:
        return None
    tail: str | None = match["tail"] or match["stated"]
    return tail


def _forms(candidate: str) -> list[str]:
    """Return the readings of a candidate: as it stands, without lead-in, without a preposition."""
    text = " ".join(candidate.replace("’", "'").split()).strip("\"'“”*`")
    forms = [text]
    if (tail := strip_lead_in(text)) is not None:
        forms.append(tail)
    forms += [form[match.end() :] for form in forms if (match := _PREPOSITION.match(form))]
    return [form for form in forms if form]


def _tokens(text: str) -> list[str]:
    # NFD, not NFKD: the latter would turn "km²" into "km2" and "5²" into "52".
    folded = _ACCENTS.sub("", unicodedata.normalize("NFD", text.casefold().translate(_LETTERS))).replace("'", "")
    # Dotted abbreviations are one word: "U.S." is "US".
    folded = re.sub(r"(?<=\b[^\W\d])\.(?=[^\W\d]\b)", "", folded)
    tokens = [_ORDINALS.get(token, token.replace(",", "")) for token in _TOKEN.findall(folded)]
    return [token for token in tokens if token not in _IGNORED] or tokens


def _stated_quantity(text: str, units: UnitConverter) -> Quantity | Span | None:
    match = _PARENTHESES.fullmatch(text)
    if match is None:
        return parse_quantity(text)
    outer, inner = parse_quantity(match["outer"]), parse_quantity(match["inner"])
    if outer is None or inner is None:
        return None
    return outer if same_quantity(inner, outer, units) else None


def _comparable(stated: Quantity | Span, golds: Sequence[Quantity | Span], question: str) -> list[Quantity | Span]:
    """Drop the bare accepted numbers where the candidate's unit or noun may not be read into them.

    They would match any unit: a measure is only read into them if no other answer names one, and a noun if the question
    names it.
    """
    unit = _unit(stated)
    asked = {word.removesuffix("s") for word in _tokens(question)}
    foreign = not asked.issuperset(_tokens(noun_of(unit)))
    if foreign or (is_measure(unit) and any(is_measure(_unit(gold)) for gold in golds)):
        return [gold for gold in golds if _unit(gold)]
    return list(golds)


def _unit(quantity: Quantity | Span) -> str:
    return quantity.low.unit if isinstance(quantity, Span) else quantity.unit
