"""The units of measurement that answers may carry: their spellings, and conversion through pint."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any

# pint's name -> (symbols, matched with their case; names, matched without it and with an optional plural s).
_SPELLINGS: Mapping[str, tuple[str, str]] = {
    "meter": ("m", "metre meter"),
    "kilometer": ("km", "kilometre kilometer"),
    "centimeter": ("cm", "centimetre centimeter"),
    "millimeter": ("mm", "millimetre millimeter"),
    "micrometer": ("µm μm um", "micrometre micrometer micron"),
    "nanometer": ("nm", "nanometre nanometer"),
    "picometer": ("pm", "picometre picometer"),
    "angstrom": ("Å", "angstrom ångström"),
    "inch": ("in", "inch inches"),
    "foot": ("ft", "foot feet"),
    "yard": ("yd", "yard"),
    "mile": ("mi", "mile"),
    "nautical_mile": ("nmi", "nautical-mile"),
    "light_year": ("ly", "light-year lightyear"),
    "parsec": ("pc", "parsec"),
    "astronomical_unit": ("AU au", "astronomical-unit"),
    "hectare": ("ha", "hectare"),
    "acre": ("ac", "acre"),
    "liter": ("l L", "litre liter"),
    "milliliter": ("ml mL", "millilitre milliliter"),
    "gram": ("g", "gram gramme"),
    "kilogram": ("kg", "kilogram kilogramme kilo"),
    "milligram": ("mg", "milligram"),
    "metric_ton": ("t", "tonne metric-ton"),
    "pound": ("lb lbs", "pound"),
    "ounce": ("oz", "ounce"),
    "second": ("s sec", "second"),
    "minute": ("min", "minute"),
    "hour": ("h hr hrs", "hour"),
    "day": ("d", "day"),
    "week": ("wk", "week"),
    "month": ("mo", "month"),
    "year": ("yr yrs", "year"),
    "degree_Celsius": ("°C ℃", "celsius degree-celsius centigrade degree-centigrade"),
    "degree_Fahrenheit": ("°F ℉", "fahrenheit degree-fahrenheit"),
    "kelvin": ("K", "kelvin"),
    "degree": ("°", "degree deg"),
    "percent": ("%", "percent per-cent"),
    "joule": ("J", "joule"),
    "kilojoule": ("kJ", "kilojoule"),
    "electron_volt": ("eV", "electronvolt electron-volt"),
    "watt": ("W", "watt"),
    "kilowatt": ("kW", "kilowatt"),
    "megawatt": ("MW", "megawatt"),
    "gigawatt": ("GW", "gigawatt"),
    "kilowatt_hour": ("kWh", "kilowatt-hour"),
    "hertz": ("Hz", "hertz"),
    "kilohertz": ("kHz", "kilohertz"),
    "megahertz": ("MHz", "megahertz"),
    "gigahertz": ("GHz", "gigahertz"),
    "terahertz": ("THz", "terahertz"),
    "volt": ("V", "volt"),
    "pascal": ("Pa", "pascal"),
    "bar": ("bar", "bar"),
    "atmosphere": ("atm", "atmosphere"),
    "knot": ("kn kt", "knot"),
    "mile / hour": ("mph", "mile-per-hour"),
    "kilometer / hour": ("kph kmh", "kilometre-per-hour kilometer-per-hour"),
}
_SYMBOLS = {symbol: unit for unit, (symbols, _) in _SPELLINGS.items() for symbol in symbols.split()}
_NAMES = {
    name.replace("-", " ") + plural: unit
    for unit, (_, names) in _SPELLINGS.items()
    for name in names.split()
    for plural in ("", "s")
} | {"degrees celsius": "degree_Celsius", "degrees centigrade": "degree_Celsius"}
_NAMES |= {"degrees fahrenheit": "degree_Fahrenheit", "miles per hour": "mile / hour"}

_POWERS = {"square ": 2, "sq ": 2, "sq. ": 2, "cubic ": 3, "cu ": 3}
_EXPONENT = re.compile(r"(?P<base>.*?[^\W\d]) ?(?:\^|\*\*)?(?P<power>[23²³])")
_DIVISION = re.compile(r" ?/ ?| per (?!cent)")
_NOUN = re.compile(r"[^\W\d_]+(?:[ -][^\W\d_]+)?")
# Words that turn "5 apples" into something other than a count of one thing.
_NOT_NOUNS = frozenset(
    {"and", "or", "to", "not", "no", "but", "nor", "than", "versus", "vs", "except", "if", "of", "x", "e"}
)
_NOT_NOUNS |= {"is", "are", "was", "were", "either", "neither"}


def canonical_unit(text: str) -> str | None:
    """Return one spelling per unit: a pint expression, or for a counted thing ("12 stars") its noun in lower case.

    Returns:
        `""` for no unit, None if `text` is neither a unit nor a noun of one or two words.
    """
    text = " ".join(text.split()).removesuffix(".")
    if not text:
        return ""
    return _measure(text) or _noun(text)


def _measure(text: str) -> str | None:
    if text in _SYMBOLS:
        return _SYMBOLS[text]
    lowered = text.casefold()
    if (name := lowered.replace("-", " ")) in _NAMES:
        return _NAMES[name]
    for prefix, power in _POWERS.items():
        if lowered.startswith(prefix):
            base = _measure(text[len(prefix) :])
            return f"{base} ** {power}" if base in _SPELLINGS else None
    parts = _DIVISION.split(text)
    if len(parts) == 2:
        below = _measure(parts[1])
        above = _measure(parts[0]) or _noun(parts[0])
        return f"{above} / {below}" if above and below else None
    if match := _EXPONENT.fullmatch(text):
        base = _measure(match["base"])
        return f"{base} ** {'3' if match['power'] in '3³' else '2'}" if base in _SPELLINGS else None
    return None


def _noun(text: str) -> str | None:
    words = text.casefold().replace("-", " ").split()
    if not _NOUN.fullmatch(text) or not _NOT_NOUNS.isdisjoint(words):
        return None
    return " ".join(word if word.endswith("ss") else word.removesuffix("s") for word in words)


def noun_of(unit: str) -> str:
    """Return the counted noun in a canonical unit ("person / kilometer ** 2" counts persons), or `""`."""
    noun = unit.partition(" / ")[0]
    return "" if not noun or is_measure(noun) else noun


def is_measure(unit: str) -> bool:
    """Say whether a canonical unit is one that pint can convert, rather than a counted noun."""
    return bool(unit) and all(part.partition(" ** ")[0] in _SPELLINGS for part in unit.split(" / "))


class UnitConverter:
    """Converts between canonical units. The pint registry is built on first need (0.3 s) and kept; thread-safe."""

    def __init__(self) -> None:
        """Make a converter without loading pint."""
        self._lock = threading.Lock()
        self._registry: Any = None

    def convert(self, value: float, source: str, target: str) -> float | None:
        """Return `value`, given in `source`, in `target`; None if one cannot be expressed in the other."""
        if source == target:
            return value
        if not (is_measure(source) and is_measure(target)):
            return None
        import pint

        with self._lock:  # pint's caches are filled while it converts
            if self._registry is None:
                self._registry = pint.UnitRegistry()
            try:
                return float(self._registry.Quantity(value, source).to(target).magnitude)
            except pint.DimensionalityError:
                return None

    def __reduce__(self) -> tuple[type[UnitConverter], tuple[()]]:
        """Leave the registry and the lock behind: they are rebuilt where the converter arrives."""
        return type(self), ()
