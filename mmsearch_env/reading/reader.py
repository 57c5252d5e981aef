"""A rule-based extractive reader: it finds the span that answers a question in passages, or says that none does."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from mmsearch_env.reading.cues import Asked, content, related, stem, understand, words
from mmsearch_env.reading.spans import Span, find_spans, names

SUPPORT = 0.5
"""The least support at which an answer is given."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer, or None where no sentence supports one, and how well it is supported, in [0, 1]."""

    answer: str | None
    support: float


_ABBREVIATION = re.compile(r"(?:\b[A-Z]|\b(?:St|Mt|Dr|Mr|Mrs|Ms|No|vs|c|ca|approx|cf|e\.g|i\.e))\.$")
_BORDER = re.compile(r"(?<=[.!?])[”\"’)]?\s+(?=[A-Z0-9À-Þ“\"(])|\n+|\s+[•|]\s+")
_POINTER = re.compile(
    r"\b(?P<cue>see|in|to|at|under|on|page|article|entry|titled|called|consult|turn to|look up|read|open|try|find|ask)"
    r"(?: also)?(?: the)?(?: (?:page|article|entry|list|chapter|section|table))?:? "
    r"[“\"](?P<title>[^\W\d_][^”\"]{2,})[”\"]",
    re.I,
)
_POINTING = re.compile(
    r"\b(?:see|turn to|consult|look up|refer to|open|stands? in|(?:is|are|was|were) (?:\w+ ?){0,2}(?:in|on|under|at|to)"
    r"|read|page|article|(?:named|given|listed|found|told|explained|described|printed) (?:in|on|under))\b",
    re.I,
)
_OUTDATED = re.compile(
    r"\b(?:former(?:ly)?|once(?! (?:more|again|a|every))|older?|until|out of date|outdated|no longer"
    r"|previous(?:ly)?|used to|obsolete|historical(?:ly)?|superseded|mistaken(?:ly)?|wrong(?:ly)?|rumou?r(?:ed)?)\b",
    re.I,
)
_CLAUSE_BORDER = re.compile(r"[,;:] | and ")
_ELSEWHERE = re.compile(r"\b(?:not to be confused with|unlike|another|elsewhere)\b", re.I)


def read(question: str, texts: Sequence[str], *, subject: str | None = None, sought: Collection[str] = ()) -> Reading:
    """Find the answer to a factual question in passages.

    Args:
        question: e.g. "What is the capital of the country whose flag is shown?".
        texts: passages, each about one thing; a passage may start with its title and a colon.
        subject: the name of what the question is about, e.g. "Norway"; passages that never name it are not read.
        sought: titles of pages that another page said would answer; what they repeat may answer without further signs.

    Returns:
        The answer as the passage words it, and its support; `Reading(None, 0.0)` if no sentence supports one.
    """
    asked = understand(question, subject)
    best: dict[str, tuple[float, str]] = {}
    for text in texts:
        if subject is not None and not names(text, subject):
            continue
        for score, span in _scored(asked, question, text, subject, sought):
            key = span.casefold()
            if key not in best or score > best[key][0]:
                best[key] = (score, span)
    if not best:
        return Reading(None, 0.0)
    score, answer = max(best.values(), key=lambda scored: scored[0])  # the first of equals, in reading order
    support = round(min(max(score, 0.0) / 1.6, 1.0), 6)
    return Reading(answer, support) if support >= SUPPORT else Reading(None, support)


def pointers(texts: Sequence[str]) -> list[str]:
    """Return the titles that passages send their reader to (see “Banknotes of Norway”), in order, each once."""
    found = [
        match["title"].rstrip(".,") for text in texts for sentence in _sentences(text) for match in _pointed(sentence)
    ]
    return list(dict.fromkeys(found))


def _pointed(sentence: str) -> list[re.Match[str]]:
    return [match for match in _POINTER.finditer(sentence) if _POINTING.search(sentence[: match.end("cue")])]


def _sentences(text: str) -> list[str]:
    sentences: list[str] = []
    for piece in _BORDER.split(text):
        piece = piece.strip()
        if sentences and _ABBREVIATION.search(sentences[-1]):
            sentences[-1] += " " + piece
        elif piece:
            sentences.append(piece)
    return sentences


def _scored(
    asked: Asked, question: str, text: str, subject: str | None, sought: Collection[str]
) -> Iterator[tuple[float, str]]:
    """Yield the candidate answers of one passage with their scores."""
    sentences = [_without_pointers(sentence) for sentence in _sentences(text)]
    title, sentences[:1] = _split_title(sentences)
    weights = _weights(asked, text)
    about = 0.8 if title in sought else _coverage(weights, title)
    # A question answers nothing, and a page about something else only answers where it names the subject.
    foreign = subject is not None and title and not names(title, subject)
    sentences = [
        sentence
        for sentence in sentences
        if not sentence.endswith("?") and not (foreign and subject and not names(sentence, subject))
    ]
    spans = [
        [span for span in find_spans(asked, question, sentence, subject) if _is_new(span, asked, title, subject)]
        for sentence in sentences
    ]
    counts = Counter(key for found in spans for key in {span.text.casefold() for span in found})
    for sentence, found in zip(sentences, spans, strict=True):
        covered = _coverage(weights, sentence)
        context = _context(question, sentence, subject)
        for span in found:
            repeated = counts[span.text.casefold()] > 1
            # "… means that …" is evidence by itself, and so is the look of Morse code.
            said = 0.6 if span.kind in ("clause", "signs") else 0.0
            # So is the only number of the subject's page, if it has the unit.
            lone = span.kind == "quantity" and asked.units is not None and len(counts) == 1
            # And a quotation on the page that was said to have it, where one is asked for.
            if span.kind == "quoted" and title in sought and asked.kinds[0] in ("quoted", "clause"):
                said = 0.5
            if lone and subject is not None and title and not foreign:
                said = 0.5
            if not (covered or said) and not (about and repeated):
                continue
            score = max(covered, said, 0.5 * about) + context + 0.3 * repeated + 0.35 * span.slot
            # A phrase in the answer's place may hold more of a name than its capitalised words do.
            whole = span.kind == "phrase" and span.text[:1].isupper()
            score += 0.3 * (title in sought) - 0.3 * bool(foreign)
            fitting = asked.kinds[: 2 if asked.kinds[0] == "clause" else 1]
            score += 0.3 if span.kind in fitting else 0.35 if whole else 0.1
            score += 0.1 * lone
            if span.kind in ("quantity", "year"):
                score += 0.8 * _coverage(weights, _clause(sentence, span))
            if span.kind == "name" and _is_a(asked.focus, span, sentence):
                score += 0.3
            if asked.preposition and re.search(rf"\b{asked.preposition} (?:the )?$", sentence[: span.start], re.I):
                score += 0.3
            yield score, span.text


def _weights(asked: Asked, text: str) -> dict[str, float]:
    """Weigh the question's words for one passage, to a sum of at most 1.

    Words that the passage never uses say little about which of its sentences answers, and count for a third.
    """
    stems = {stem(word) for word in words(text)}
    raw = {one: 2.0 if one in asked.focus else 1.0 for one in asked.keywords}
    used = {one: weight for one, weight in raw.items() if related(one) & stems}
    total = sum(used.values()) + (sum(raw.values()) - sum(used.values())) / 3
    return {one: weight / total for one, weight in used.items()}


def _without_pointers(sentence: str) -> str:
    for match in reversed(_pointed(sentence)):
        sentence = sentence[: match.start("title")] + sentence[match.end("title") :]
    return sentence


def _split_title(sentences: Sequence[str]) -> tuple[str, list[str]]:
    """Split "Title: first sentence", or take a first line without a full stop for the title."""
    if not sentences:
        return "", []
    # A title may hold a colon itself, so the last one that a sentence follows counts.
    for border in reversed([match.start() for match in re.finditer(": ", sentences[0])]):
        title, rest = sentences[0][:border], sentences[0][border + 2 :]
        if rest[:1].isupper() and len(title.split()) <= 14 and len(rest.split()) > 2:
            return title, [rest]
    if len(sentences) > 1 and not sentences[0].endswith((".", "!", "?", ":")):
        return sentences[0], []
    return "", [sentences[0]]


def _coverage(weights: dict[str, float], text: str) -> float:
    stems = {stem(word) for word in words(text)}
    return sum(w if one in stems else 0.8 * w if related(one) & stems else 0.0 for one, w in weights.items())


def _clause(sentence: str, span: Span) -> str:
    """Return the clause around a span; of two numbers in a sentence, each belongs to the words next to it."""
    borders = [0, *(match.start() for match in _CLAUSE_BORDER.finditer(sentence)), len(sentence)]
    start = max(border for border in borders if border <= span.start)
    return sentence[start : min(border for border in borders if border >= span.end or border == len(sentence))]


def _is_a(focus: Sequence[str], span: Span, sentence: str) -> bool:
    """Say whether the thing asked for stands in the name or just before it: "the genus Vanilla", "Neva River"."""
    before = words(sentence[: span.start])[-1:]
    return any(stem(word) in focus for word in [*before, *words(span.text)])


def _context(question: str, sentence: str, subject: str | None) -> float:
    """Score what speaks for and against a sentence, whatever it says."""
    score = 0.15 if subject is not None and names(sentence, subject) else 0.0
    if _OUTDATED.search(sentence) and not _OUTDATED.search(question):
        score -= 0.8
    if _ELSEWHERE.search(sentence):
        score -= 0.4
    return score


def _is_new(span: Span, asked: Asked, title: str, subject: str | None) -> bool:
    """Say whether a span tells something that the question, the subject and the title did not say."""
    if span.kind == "quoted":
        named = asked.kinds[0] != "name" or not span.text[:1].islower()
        return named and not set(asked.keywords).issuperset(content(span.text))
    if not span.text or span.kind not in ("name", "phrase"):
        return bool(span.text)
    # "Government of Norway" is no answer about Norway, but "South Sudan" may be one about Sudan.
    if subject is not None and re.fullmatch(rf"(?:.* of (?:the )?)?{re.escape(subject)}", span.text, re.I):
        return False
    if span.text.casefold() in title.casefold().replace((subject or "\0").casefold(), ""):
        return False
    stems = content(span.text)
    return bool(stems) and not set(asked.keywords).issuperset(stems) and len(span.text.split()) <= 7
