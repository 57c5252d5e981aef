"""What a factual question asks for: the words to look for, the kind of answer, and the units that fit it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["year", "quantity", "ordinal", "code", "signs", "quoted", "money", "name", "phrase", "clause"]

STOP_WORDS = frozenset(
    """a about above after all also among an and any are as at be became become been before below between but by can
    could did do does during each either for from gave get give given gives had has have her here his how i if
    in into is it its itself like many may might more most much must name named near no nor not of off on one
    only onto or other our out over put seen shown since so some still such tell than that the their them then
    there these they this those through to too under until up upon us was we were what when where which while
    who whom whose why will with would you your both even every few just last least less let never next now old
    once per same several should today two very via yet picture photo image left right corner middle top bottom
    visible pictured depicted displayed recent""".split()  # noqa: SIM905
)

# Words of one matter on a line: a word of the question also finds the others of its line.
_SYNONYMS = """
population people inhabitants residents
currency money unit
area large cover covers size extent total
rank place sorted size largest order
order sequence next following after before succeeds
height high elevation tall altitude
length long
summit highest mountain peak hill loftiest topmost tallest
anthem song hymn
independence independent sovereign founded
neighbours neighbouring borders bordering touch
code domain prefix letters abbreviation
web internet addresses domain end code
character letter digit spelled spells read stands
abbreviation shorten short letters marked
genitive form
symbol emblem emblems serves
introduced introducing introduction credited source authority named registers originator
hemisphere hemispheres filed assigned
discovered discoverer discovery found isolated
brightest bright luminous star outshines
distance far away
mass weight heavy weigh
temperature hot cold
capital seat government
export exports exported sells
meaning means mean meant stands says message tell tells represents draw drew drawn
morse dots dashes code
invented inventor created creator designed designer architect
chemical chemists chemistry
language languages speak spoken tongue
"""

# Words that say what kind of thing is asked for or which thing is meant, but not what is asked about it.
_GENERIC_WORDS = """
country state nation city year name title number kind sort type thing place person called word flag flies fly
belongs represented outlined drawn outline shape shows kilometres metres square meters kilometers sea red green blue
white black yellow orange brown grey gray purple entity object element constellation star planet animal plant fruit
monument building reach sit lie lies come comes go goes use used gain gained
"""

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def words(text: str) -> list[str]:
    """Return the words of a text, in order."""
    return _WORD.findall(text)


def stem(word: str) -> str:
    """Return the beginning of a word that its inflections share; crude, but the same for question and page."""
    word = word.casefold()
    if len(word) > 3:
        word = word.removesuffix("s")
    if len(word) > 6:
        word = word.removesuffix("ing").removesuffix("ed")
    return word[:6]


_MATTERS = tuple(tuple(line.split()) for line in _SYNONYMS.strip().split("\n"))


def _groups() -> dict[str, frozenset[str]]:
    groups: dict[str, frozenset[str]] = {}
    for line in _MATTERS:
        stems = frozenset(stem(word) for word in line)
        for one in stems:
            groups[one] = groups.get(one, frozenset()) | stems
    return groups


_GROUPS = _groups()
_GENERIC = frozenset(stem(word) for word in _GENERIC_WORDS.split())


def related(stemmed: str) -> frozenset[str]:
    """Return a stem with those of its synonyms."""
    return _GROUPS.get(stemmed, frozenset({stemmed}))


def content(text: str) -> list[str]:
    """Return the stems of the words that carry meaning, in order, each once."""
    return list(dict.fromkeys(stem(word) for word in words(text) if word.casefold() not in STOP_WORDS))


_YEAR = re.compile(
    r"\b(?:what|which) year\b|^when\b|\bwhen (?:did|was|were|is|does|do)\b|\byear (?:of|in which|that)\b",
    re.I,
)
_ADJECTIVE = r"(?:large|big|high|tall|long|wide|deep|far|old|heavy|fast|hot|cold|bright|dense)"
_QUANTITY = re.compile(
    r"\b(?:number|area|population|length|height|elevation|depth|width|distance|mass|weight|density|temperature|magnitude"
    r"|wavelength|frequency|percentage|share|diameter|radius|speed|group|period|rank|(?:melting|boiling) point)\b",
    re.I,
)
_CODE = re.compile(
    r"\b(?:code|prefix|letters?|character|digit|domain|abbreviation|chemical symbol|symbol of the element)\b", re.I
)
_QUOTED = re.compile(r"\b(?:anthem|song|title|titled|motto|nickname|literally)\b", re.I)
_CLAUSE = re.compile(
    r"\bmean(?:s|ing|t)?\b|\bstand for\b|\bcomes? from\b|\borigin of\b|\bmessage\b|\bsay\b|\bsignalled\b"
    r"|\btell other\b|^as what\b|\brepresent\b",
    re.I,
)
_RANK = re.compile(r"\brank\b|\b(?:which|what) place\b", re.I)
_SIGNS = re.compile(r"\bmorse\b|\bdots and dashes\b", re.I)
_MONEY = re.compile(r"\b(?:currency|currencies|money)\b", re.I)
_NAME = re.compile(
    r"\b(?:city|capital|country|state|nation|neighbours?|river|mountain|summit|peak|point|island|lake|sea|constellation|star"
    r"|person|chemist|astronomer|scientist|king|queen|emperor|president|architect|artist|painter|language|family|genus"
    r"|species|park|museum|signal|holiday|continent|region|province|myth|god|goddess|hero)\b",
    re.I,
)
_PERSON = re.compile(r"(?:\w+ )?(?:who|whom|where|whose)\b", re.I)
_PREPOSITIONS = "from|with|by|on|after|near|under|into|through|against|across"
_PREPOSITION = re.compile(rf"^(?:and )?({_PREPOSITIONS}) (?:which|what|whom)\b", re.I)

_BE = (
    "is|was|are|were|does|did|do|has|have|had|will|can|lies|stands|end|ends|live|share|brought|headed|heads|began|ruled"
)
_NOT_BE = r"(?!(?:is|was|are|were|does|did|do|has|have)\b)"
_NP = _NOT_BE + r"(?P<np>[\w’' -]+?)"
_END = r"(?: of| in| that| to| for| with| from|[?.:,])"
_HEADS = (
    re.compile(rf"\b(?:which|what) {_NP} (?:{_BE})\b", re.I),
    re.compile(rf"\b(?:what|who|which|where) (?:is|was|are|were) (?:the|its|their)? ?{_NP}{_END}", re.I),
    re.compile(rf"^(?:name|give|tell|state) (?:me )?(?:the|its)? ?{_NP}{_END}", re.I),
    re.compile(rf"\bhow many {_NP} (?:{_BE}|of)\b", re.I),
    re.compile(rf"\bhow (?P<np>{_ADJECTIVE})\b", re.I),
    re.compile(rf"\b(?:which|what) {_NOT_BE}(?P<np>[\w’'-]+(?: [\w’'-]+)?)", re.I),
)


def _cue(question: str, unit: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    return re.compile(question, re.I), re.compile(unit, re.I)


# What a question says, and what the unit of its answer has to look like.
_UNITS = (
    _cue(r"square degree", r"square deg|deg²"),
    _cue(r"square kilomet|how large|\barea\b", r"km²|km2|sq\.? ?km|square|ha\b|hectare|acre"),
    _cue(r"wavelength", r"nm\b|nanomet|Å|angstr"),
    _cue(
        r"how (?:high|tall|long|wide|deep|far)|metres|length|elevation|height|depth|coastline",
        r"(?:m|km|metres?|meters?|kilomet(?:re|er)s?|ft|feet|mi|miles?)\b(?!²|2)|light|parsec|days",
    ),
    _cue(r"temperature|melting|boiling|how (?:hot|cold)", r"°|K\b|degree|kelvin|celsius"),
    _cue(r"density|how dense", r".*(?:/|per)"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, taken apart.

    Attributes:
        focus: stems of the noun phrase that is asked for.
        keywords: stems of all its meaningful words, without the subject's.
        kinds: the kinds of answers that fit, the best first.
        preposition: the one before the question word ("from which state"), or None.
        units: what a unit has to look like for the answer to fit, or None if any does.
    """

    focus: tuple[str, ...]
    keywords: tuple[str, ...]
    kinds: tuple[Kind, ...]
    preposition: str | None
    units: re.Pattern[str] | None


def understand(question: str, subject: str | None) -> Asked:
    """Take a question apart; the words of `subject` are not among its keywords."""
    known = set(content(subject or "")) | _GENERIC
    keywords = tuple(stemmed for stemmed in content(question) if stemmed not in known) or tuple(content(question))
    if re.search(r"\babove (?:the )?sea\b", question, re.I):
        keywords += (stem("elevation"),)
    matches = [match for pattern in _HEADS if (match := pattern.search(question))]
    head = min(matches, key=lambda match: match.start())["np"] if matches else ""
    focus = tuple(stemmed for stemmed in content(head) if stemmed in keywords)
    preposition = _PREPOSITION.match(question)
    kinds = _kinds(question, re.split(r"\b(?:of|whose|that|which|the)\b", head)[0])
    units = next((unit for cue, unit in _UNITS if cue.search(question)), None) if "quantity" in kinds else None
    return Asked(focus, keywords, kinds, preposition[1].lower() if preposition else None, units)


def search_words(question: str, subject: str) -> str:
    """Return a query about `subject`: its name, what the question asks about it, and other words for that.

    The name stands at both ends, since pages that put the same question about something else share all other words.
    """
    own = {word.casefold() for word in words(subject)}
    meant = understand(question, subject).keywords
    asked = [word for word in words(question) if stem(word) in meant and word.casefold() not in STOP_WORDS | own]
    if _CLAUSE.search(question):
        asked.append("meaning")
    stems = {stem(word) for word in asked}
    others = [word for line in _MATTERS if stems & {stem(word) for word in line} for word in line]
    return " ".join([*dict.fromkeys([subject, *asked, *others]), subject])


def _kinds(question: str, head: str) -> tuple[Kind, ...]:
    if re.search(rf"\bhow (?:many|much|{_ADJECTIVE})\b", question, re.I):
        return ("quantity",)
    if _YEAR.search(question):
        return ("year",)
    if _MONEY.search(question):
        return ("money",)
    if _RANK.search(question):
        return ("ordinal",)
    if _SIGNS.search(question):
        return ("signs",)
    if re.search(r"\bmeaning\b", question, re.I):
        return ("clause", "quoted")
    if _CODE.search(head) or _CODE.search(question.partition(" of ")[0]):
        return ("code",)
    if _CLAUSE.search(question):
        return ("clause", "quoted", "name")
    if _QUOTED.search(question):
        return ("quoted", "name")
    if _QUANTITY.search(head):
        return ("quantity",)
    named = _NAME.search(head) or _PERSON.match(question)
    return ("name", "phrase", "quoted") if named else ("phrase", "name", "quoted")
