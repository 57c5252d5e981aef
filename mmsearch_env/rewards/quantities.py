"""Numbers with units as short answers write them: reading them, and saying when two are the same.

The rules make the numeric part of DeepMMSearch-R1's reward model (arXiv 2510.12801, appendix E.6) definite:

* a candidate may be rounded (176 for 176.124) if the gold value rounds to it and the error is at most 1 %;
* a candidate range counts if it holds the gold value and is no wider than half of its larger end;
* years (1000-2100, without unit or separator, and any year BC) match exactly, and so do counts below 1000;
* a bare number is read in the unit of the other side; two different units must convert into each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from mmsearch_env.rewards.units import UnitConverter, canonical_unit, is_measure

ROUNDING = 0.01
"""The largest relative error of a rounded answer."""
RANGE_WIDTH = 0.5
"""The largest width of a range, relative to its end that is farther from zero."""

_YEARS = range(1000, 2101)
_COUNTS = 1000
_EPSILON = 1e-9

_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "bn": 9, "trillion": 12}
_ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_ONES += ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS = (
    {word: value for value, word in enumerate(_ONES)}
    | {word: 10 * value for value, word in enumerate(_TENS, 2)}
    | {f"{ten}-{one}": 10 * i + j for i, ten in enumerate(_TENS, 2) for j, one in enumerate(_ONES[:10]) if j}
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_DASHES = str.maketrans(dict.fromkeys("−–—‐‑", "-") | dict.fromkeys("\u00a0\u202f\u2009", " "))

_HEDGE = re.compile(
    r"(?:about|approximately|approx\.?|around|roughly|circa|ca?\.|exactly|nearly|almost|some|~|≈) ?", re.I
)
_NUMBER = re.compile(
    r"(?P<sign>[-+]|minus |plus )? ?"
    r"(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d|,\d)|\d{1,3}(?: \d{3})+(?:\.\d+)?(?![\d.,])"
    r"|\d+(?:\.\d+)?(?![.,]?\d)|\.\d+)"
    r"(?: ?[x×·*] ?10(?:\^|\*\*)?(?P<power>-?\d+|[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)|e(?P<exponent>[-+]?\d+))?",
    re.I,
)
_WORD = re.compile("|".join(sorted(_WORDS, key=len, reverse=True)) + r"(?![\w-])", re.I)
_SCALE = re.compile(rf"[ -]?(?P<scale>{'|'.join(_SCALES)})(?!\w)", re.I)
_ERA = re.compile(r"(?P<bc>b\.?c\.?(?:e\.?)?)|a\.?d\.?|c\.?e\.?", re.I)
_QUALIFIER = re.compile(
    r" (?:above (?:mean )?sea level|a\.?s\.?l\.?|tall|high|long|wide|deep|old|across"
    r"|in (?:length|height|width|depth|area|diameter|size|total))$",
    re.I,
)
_FROM_TO = re.compile(r"(?:between (.+) and (.+)|from (.+) to (.+))", re.I)
_BORDER = re.compile(r" ?- ?(?=[-+.\d])| to (?=\S)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number as it was written.

    Attributes:
        value: its value in `unit`.
        step: the size of one unit of its last written digit.
        coarse_step: the same, if the zeros at the end of a whole number are taken for rounding.
        unit: canonical (see `units.canonical_unit`), or `""`.
        is_year: whether it reads as a year.
        is_count: whether it reads as a count or a plain small whole number.
        scale: the power of ten that was written as a word (`million`), or 0.
    """

    value: float
    step: float
    coarse_step: float
    unit: str = ""
    is_year: bool = False
    is_count: bool = False
    scale: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """A range of numbers, `low <= high`."""

    low: Quantity
    high: Quantity


def parse_quantity(text: str) -> Quantity | Span | None:
    """Read a whole text as one number with an optional unit, or as one range; None if it is anything else."""
    text = " ".join(text.translate(_DASHES).split()).rstrip(".,;!")
    if hedge := _HEDGE.match(text):
        text = text[hedge.end() :]
    single = _single(text)
    if single is not None:
        return single
    for left, right in _ends(text):
        low, high = _single(left), _single(right)
        if low is None or high is None:
            continue
        if high.scale and not low.scale and abs(low.value) < _COUNTS:
            factor = 10.0**high.scale
            low = replace(low, value=low.value * factor, step=low.step * factor, scale=high.scale)
        unit = high.unit or low.unit
        if {low.unit, high.unit} <= {unit, ""} and low.value <= high.value:
            return Span(replace(low, unit=unit), replace(high, unit=unit))
    return None


def _ends(text: str) -> Iterator[tuple[str, str]]:
    if match := _FROM_TO.fullmatch(text):
        left, right = (group for group in match.groups() if group is not None)
        yield left, right
    for border in _BORDER.finditer(text):
        yield text[: border.start()], text[border.end() :]


def _single(text: str) -> Quantity | None:
    scale = 0
    if word := _WORD.match(text):
        number, grouped, rest = Decimal(_WORDS[word[0].lower()]), False, text[word.end() :]
    elif match := _NUMBER.match(text):
        written = match["digits"].replace(",", "").replace(" ", "")
        grouped = len(written) != len(match["digits"])
        power = int((match["power"] or match["exponent"] or "0").translate(_SUPERSCRIPTS).rstrip("-") or "0")
        if abs(power) > 99 or len(written) > 40:
            return None
        number = Decimal(written).scaleb(power)
        if match["sign"] in ("-", "minus "):
            number = -number
        rest = text[match.end() :]
    else:
        return None
    if found := _SCALE.match(rest):
        scale = _SCALES[found["scale"].lower()]
        number, rest = number.scaleb(scale), rest[found.end() :]
    attached = not rest.startswith((" ", "-"))
    rest = _QUALIFIER.sub("", rest).strip()
    era = _ERA.fullmatch(rest)
    if era and number > 0:
        number, rest = (-number if era["bc"] else number), ""
    unit = canonical_unit(rest.removeprefix("-"))
    if unit is None or (rest[:1].isalpha() and attached and not is_measure(unit)):  # "3rd" is not three "rd"
        return None
    step = Decimal(1).scaleb(int(number.as_tuple().exponent))
    whole = number == number.to_integral_value()
    coarse = Decimal(1).scaleb(int(number.normalize().as_tuple().exponent)) if whole and number else step
    label = not unit and whole and not grouped and not scale
    return Quantity(
        value=float(number),
        step=float(step),
        coarse_step=max(float(coarse), float(step)),
        unit=unit,
        is_year=label and (number in _YEARS or (era is not None)),
        is_count=not is_measure(unit) and whole and not scale and abs(number) < _COUNTS,
        scale=scale,
    )


def same_quantity(candidate: Quantity | Span, gold: Quantity | Span, units: UnitConverter) -> bool:
    """Say whether `candidate` states the value `gold`, by the rules in the module's docstring."""
    if isinstance(gold, Span):
        return (
            isinstance(candidate, Span)
            and same_quantity(candidate.low, gold.low, units)
            and same_quantity(candidate.high, gold.high, units)
        )
    if isinstance(candidate, Span):
        return _holds(candidate, gold, units)
    if gold.is_year or gold.is_count:
        compatible = not candidate.unit or not gold.unit or candidate.unit == gold.unit
        return compatible and candidate.value == gold.value
    theirs = _value_in(gold, candidate.unit, units)
    ours = _value_in(candidate, gold.unit, units)
    if theirs is None or ours is None:
        return False
    return _rounds_to(theirs, candidate.value, candidate.coarse_step) or _rounds_to(gold.value, ours, gold.step)


def _holds(span: Span, gold: Quantity, units: UnitConverter) -> bool:
    low, high = _value_in(span.low, gold.unit, units), _value_in(span.high, gold.unit, units)
    if gold.is_year or low is None or high is None:
        return False
    slack = _EPSILON * max(abs(low), abs(high))
    narrow = high - low <= RANGE_WIDTH * max(abs(low), abs(high)) + slack
    return narrow and low - slack <= gold.value <= high + slack


def _value_in(quantity: Quantity, unit: str, units: UnitConverter) -> float | None:
    if not unit or not quantity.unit:
        return quantity.value
    return units.convert(quantity.value, quantity.unit, unit)


def _rounds_to(gold: float, candidate: float, step: float) -> bool:
    allowed = min(ROUNDING * abs(gold), step / 2)
    return abs(gold - candidate) <= allowed + _EPSILON * max(abs(gold), abs(candidate))
