"""The spans of a sentence that could answer a question: years, numbers, codes, quotations, names and phrases."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmsearch_env.reading.cues import STOP_WORDS, Asked, Kind, related, stem

_CLAUSES = re.compile(
    r"\b(?:means?|says?|(?<!the )signals|reads|represents?|dr[ae]wn? [^,.:]{1,30}? as"
    r"|stands? for(?! the (?:character|letter|digit))|(?:Latin|Greek|Arabic) for|(?:goes|go) back to"
    r"|(?:comes?|came|derived?s?|taken) from|message is|meaning(?: of (?:the )?[^\s,.:]+(?: [^\s,.:]+)?)? is)"
    r"(?: that)?:? (?!is |are )(?P<clause>[^.]+)",
)
_MASK = "\ue000"
_UPPER = "A-ZÀ-ÖØ-ÞĀĂĄĆĈČĎĐĒĚĞĠĢĪİĶĹĻĽŁŃŅŇŌŐŒŔŘŚŞŠŢŤŪŮŰŹŻŽ"
_CAPITALIZED = rf"[’']?(?:[{_UPPER}][\w’'.-]*[\w’']|[{_UPPER}]\b)"
_PARTICLES = "of|the|of the|de|la|de la|las|los|del|da|do|dos|des|di|el|al|le|du|van|von|der|den|y|e|es|ech|ad|an|as"
_PARTICLES += "|ash|og|na|and"
_NAMES = re.compile(
    rf"{_CAPITALIZED}(?: (?:(?:{_PARTICLES}) (?={_CAPITALIZED}))?(?:{_CAPITALIZED}|\d+\b))*(?:, (?:[A-Z]\.){{2}})?"
)
_YEARS = re.compile(
    r"(?<![\d,.])(?:1\d{3}|20\d{2}|\d{1,4} (?:BCE?|AD|CE))(?!\d|[,.]\d)(?! ?(?:km|m|metres|people|kilomet|%|°))"
)
_UNIT = (
    r"km²|km2|sq\.? km|square (?:kilomet(?:re|er)s?|miles?|degrees?)|deg²|(?:g|kg)/cm³|kg/m³|grams per cubic cent\w+"
    r"|km/h|mph|m/s|km|cm|mm|nm|Å|m|ft|feet|mi|kg|g|t|ha|K|°C|°F|°|%|(?:kilo|centi|milli|nano)?met(?:re|er)s?|miles?"
    r"|light[- ]years?|parsecs?|degrees(?: Celsius)?|kelvin|years?|days?|hours?|kilograms?|tonnes?|per cent|percent"
)
_NUMBERS = re.compile(
    r"(?<![\w.,])[-−]?(?:\d{1,3}(?:[,\u202f\u00a0]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?:[–-]\d+(?:\.\d+)?)?"
    rf"(?: (?:thousand|million|billion|trillion))?(?P<unit> ?(?:{_UNIT})(?![\w²]))?"
)
_COUNTED = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8"}
_COUNTED |= {"nine": "9", "ten": "10"}
_COUNT_WORDS = re.compile(rf"\b(?:one(?= \w+[.,;])|{'|'.join(sorted(_COUNTED.keys() - {'one'}))})\b", re.I)
_CODES = re.compile(
    r"(?<![\w.])\.[a-z]{2,3}\b|(?<![\w.’'-])(?=[A-Z0-9]*[A-Z])[A-Z0-9]{1,4}(?:-[A-Z0-9]{1,3})?(?![\w’'])"
    r"|(?<![\w.])[A-Z][a-z](?![\w’'])"
)
_CHARACTERS = re.compile(r"(?<![\w.’'-])[A-Z0-9](?![\w’'-])(?!\.\d)")
_ORDINALS = re.compile(r"\b\d+(?:st|nd|rd|th)\b")
_SIGNS = re.compile(r"(?<![\w.-])(?=[.-]*-|\.+[”\"])[.-]{1,8}(?=[”\"])|(?<=: )[.-]{1,8}(?=\.?$)")
_ABBREVIATIONS = re.compile(r"(?<![\w.])[A-Z][A-Za-z]{1,2}(?![\w’'])")
_QUOTES = re.compile(r"[“\"](?P<inside>[^”\"]+)[”\"]")
_CURRENCIES = (
    "afghani|ariary|baht|balboa|birr|bol[ií]var|boliviano|cedi|col[oó]n|c[oó]rdoba|crown|dalasi|denar|dinar|dirham|dobra"
    "|dollar|dong|dram|escudo|euro|florin|forint|franc|gourde|guaran[ií]|guilder|hryvnia|kina|kip|koruna|kr[oó]na|krone"
    "|kuna|kwacha|kwanza|kyat|lari|lats|lek|lempira|leone|leu|lev|lilangeni|lira|litas|loti|manat|mark|metical|naira"
    "|nakfa|ngultrum|ouguiya|pa[’']?anga|pataca|peso|pound|pula|quetzal|rand|real|renminbi|rial|riel|ringgit|riyal|rouble"
    "|ruble|rufiyaa|rupee|rupiah|shekel|shilling|sol|som|somoni|soum|sum|taka|tala|tenge|t[oö]gr[oö]g|tugrik|vatu|won|yen"
    "|yuan|zloty|złoty"
)
_MONEYS = re.compile(rf"(?<![\w’'-])(?:[\w’'-]+ ){{0,5}}?(?:{_CURRENCIES})s?\b(?: sterling)?")
_VERBS = (
    r"(?:is|was|are|were|remains|became|has been|stands|goes|has|reads|means)(?: (?:called|named|titled|headed by"
    r"|known as|written as|given as|estimated at|put at|set at|measured as|the one with|at|by|as|in|after))*"
)
_VERB = re.compile(r"\b(?:is|are|was|were|has|have|had|does|did|will|can|may|on|in|at|by|from|than)\b", re.I)
# Ends of what is no noun phrase: "the register enters", "the pennant stands".
_VERB_AT_END = re.compile(
    r"\b(?:enters|files|stands|shows|lies|goes|comes|follows|gives|takes|makes|says|reads|means)$"
)
_WORDS = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Span:
    """A span that could be the answer: its kind, wording, place in the sentence, and whether a pattern put it there."""

    kind: Kind
    text: str
    start: int
    end: int
    slot: bool = False


def find_spans(asked: Asked, question: str, sentence: str, subject: str | None) -> Iterator[Span]:
    """Yield the spans of a sentence that are of a kind that fits the question."""
    slots = list(_slots(asked, sentence))
    quotes = [match.span() for match in _QUOTES.finditer(sentence)] if "quoted" in asked.kinds else []
    if subject is not None and asked.kinds[0] != "money":
        sentence = _mask(sentence, subject)
    for kind in asked.kinds:
        if kind == "phrase":
            yield from _phrases(asked, sentence, slots)
            continue
        for span in _of_kind(kind, asked, question, sentence, subject):
            if _MASK in span.text or (kind != "quoted" and any(start <= span.start < end for start, end in quotes)):
                continue
            fits = kind == "quoted" or any(start <= span.start < end for start, end in slots)
            yield Span(kind, span.text, span.start, span.end, slot=fits or span.slot)


def _phrases(asked: Asked, sentence: str, slots: Sequence[tuple[int, int]]) -> Iterator[Span]:
    """Yield what stands in the slots, if it is a short noun phrase and no mere part of a name."""
    longer = [match.span() for match in _NAMES.finditer(sentence)]
    for start, end in slots:
        phrase = _trim(sentence[start:end])
        at = sentence.find(phrase, start)
        if any(a <= at and at + len(phrase) <= b and b - a > len(phrase) for a, b in longer):
            continue
        # Where a name is asked for, only a phrase that starts like one will do.
        fits = asked.kinds[0] == "phrase" or phrase[:1].isupper() or phrase[:1] in "’'"
        if fits and _is_noun_phrase(phrase):
            yield Span("phrase", phrase, start, end, slot=True)


def _is_noun_phrase(phrase: str) -> bool:
    every = phrase.split()
    if not 1 <= len(every) <= 5 or _MASK in phrase or _VERB.search(phrase) or _VERB_AT_END.search(phrase):
        return False
    # A name may begin so ("The Hague"), but "Among its neighbours" and "combined" name nothing.
    participle = len(every) == 1 and every[0].islower() and every[0].endswith(("ed", "ing"))
    return not participle and (every[0].casefold() not in STOP_WORDS or len(every) == 1)


def _of_kind(kind: Kind, asked: Asked, question: str, sentence: str, subject: str | None) -> Iterator[Span]:
    if kind == "year":
        for match in _YEARS.finditer(sentence):
            yield Span(kind, match[0], match.start(), match.end())
    elif kind == "quantity":
        yield from _quantities(asked, sentence)
    elif kind == "code":
        short = _ABBREVIATIONS if re.search(r"\babbreviat|\bthree letters\b", question, re.I) else _CODES
        short = _CHARACTERS if re.search(r"\b(?:letter or digit|character)\b", question, re.I) else short
        dotted = bool(re.search(r"\b(?:internet|web|domain)\b", question, re.I))
        for match in short.finditer(sentence):
            ends = sentence[match.end() : match.end() + 1] in tuple(".,;") or match.end() == len(sentence)
            is_word = match[0].casefold() in STOP_WORDS and not ends and not (match[0].isupper() and len(match[0]) > 1)
            if match[0].startswith(".") == dotted and not is_word:
                yield Span(kind, match[0], match.start(), match.end())
    elif kind in ("ordinal", "signs"):
        for match in (_ORDINALS if kind == "ordinal" else _SIGNS).finditer(sentence):
            yield Span(kind, match[0], match.start(), match.end())
    elif kind == "quoted":
        for match in _QUOTES.finditer(sentence):
            yield Span(kind, match["inside"].rstrip(".,"), match.start(), match.end())
    elif kind == "money":
        for match in _MONEYS.finditer(sentence):
            text = _trim_money(match[0])
            yield Span(kind, text, match.end() - len(text), match.end())
    elif kind == "clause":
        for match in _CLAUSES.finditer(sentence):
            yield Span(
                kind, match["clause"].strip("“”\"' ").rstrip("."), match.start("clause"), match.end("clause"), True
            )
    elif kind == "name":
        yield from _proper_names(sentence, subject)


def _quantities(asked: Asked, sentence: str) -> Iterator[Span]:
    for match in _NUMBERS.finditer(sentence):
        unit = (match["unit"] or "").strip()
        if asked.units is not None and unit and not asked.units.match(unit):
            continue
        # A bare number of four digits is more likely a year.
        if not unit and _YEARS.fullmatch(match[0]):
            continue
        # Where a length or an area is asked for, a bare number is more likely something else.
        if asked.units is not None and not unit:
            continue
        yield Span("quantity", match[0], match.start(), match.end())
    if asked.units is None:
        for match in _COUNT_WORDS.finditer(sentence):
            yield Span("quantity", _COUNTED[match[0].lower()], match.start(), match.end())


def _proper_names(sentence: str, subject: str | None) -> Iterator[Span]:
    for match in _NAMES.finditer(sentence):
        start, text = match.start(), match[0]
        first = text.split()[0]
        if first.casefold() in STOP_WORDS or (
            start == 0 and len(text.split()) == 1 and not _opens_statement(sentence, text)
        ):
            start, text = start + len(first) + 1, text[len(first) + 1 :]
        if re.match(r" [a-z]", sentence[start + len(text) :]):
            text = re.sub(r"[’']s$", "", text)
        text = text.rstrip(",")
        if len(text) > 1 and not text[0].isdigit() and (subject is None or text.casefold() != subject.casefold()):
            yield Span("name", text, start, start + len(text))


def _opens_statement(sentence: str, name: str) -> bool:
    return re.match(rf"{re.escape(name)}(?:,| (?:is|was|serves|has been|remains)\b)", sentence) is not None


def _slots(asked: Asked, sentence: str) -> Iterator[tuple[int, int]]:
    """Yield where sentence patterns around the focus put the answer: "The F of S is …", "…, its F", "F: …"."""
    places = [(match.start(), match.end(), stem(match[0])) for match in _WORDS.finditer(sentence)]
    ends = [(a, b) for a, b, stemmed in places if any(stemmed in related(one) for one in asked.keywords)]
    for start, end in ends:
        before, after = sentence[:start], sentence[end:]
        if match := re.match(
            rf"[^,.;:]*? {_VERBS} (?:the |a |an )?(?P<slot>[^,.;:]+(?:\.\d[^,.;:]*|,\d{{3}}[^,.;:]*)*)", after
        ):
            yield end + match.start("slot"), end + match.end("slot")
        if match := re.match(r" ?: ?(?P<slot>[^;|]+?)[.]?$", after):
            yield end + match.start("slot"), end + match.end("slot")
        if match := re.match(r"[^,.;]{0,40}, (?:the |a )?(?P<slot>[^,.;]+?)(?:[,.;]|$)", after):
            yield end + match.start("slot"), end + match.end("slot")
        if match := re.match(r"[^.;]{0,80}\b(?:has|uses|is) (?:the |a )?(?P<slot>[^,.;]+)[.,;]", after):
            yield end + match.start("slot"), end + match.end("slot")
        if match := re.search(
            r"(?P<slot>[^,.;:]+?),? (?:is|was|serves as|remains|as|,) (?:the |its |a |an |their )?[^,.;:]*$", before
        ):
            yield match.start("slot"), match.end("slot")
        if match := re.search(r"(?P<slot>[^,.;:]+), (?:the |its |a |an |their )?[^,.;:]*$", before):
            yield match.start("slot"), match.end("slot")
    if match := re.search(r"\b(?:nothing|no \w+)\b.*\b(?:than|above|beyond) (?P<slot>[^,.;]+)", sentence):
        yield match.start("slot"), match.end("slot")


def _trim(phrase: str) -> str:
    """Cut a phrase down to its noun phrase: no leading article or quotes, nothing after a clause border."""
    phrase = re.split(r"\b(?:which|who|that|where|because|although|for|so|as)\b|[“”\"()]", phrase.strip(" “”\"'"))[0]
    return re.sub(r"^(?:the|a|an|its|their|about|some)\s+", "", phrase.strip(), flags=re.I).strip(" ,")


def _trim_money(phrase: str) -> str:
    """Keep the unit and the capitalised words directly before it."""
    kept: list[str] = []
    for word in reversed(phrase.split()):
        if kept and not word[0].isupper() and word != "convertible" and not (word == "and" and len(kept) > 1):
            break
        if kept and word.casefold() in STOP_WORDS - {"and"}:
            break
        kept.insert(0, word)
    return " ".join(kept).removeprefix("and ")


def _mentions(text: str, subject: str) -> Iterator[re.Match[str]]:
    """Yield where `text` names the subject itself, not a longer name that holds it (Guinea in Equatorial Guinea)."""
    for match in re.finditer(rf"(?<![\w-]){re.escape(subject)}(?![\w-])", text, re.I):
        before = re.search(rf"(?<![\w’'-])([{_UPPER}][\w’'-]*) $", text[: match.start()])
        after = re.match(rf" (?:(?:la|el|de) )?[{_UPPER}]", text[match.end() :])
        if after is None and (before is None or before[1].casefold() in STOP_WORDS):
            yield match


def names(text: str, subject: str) -> bool:
    """Say whether `text` names the subject itself."""
    return next(_mentions(text, subject), None) is not None


def _mask(text: str, subject: str) -> str:
    """Blot the subject's name out, so that no part of it is taken for an answer; positions stay."""
    for match in _mentions(text, subject):
        text = text[: match.start()] + _MASK * len(match[0]) + text[match.end() :]
    return text
