"""Answer metrics as published for SQuAD (Rajpurkar et al., 2016), and what counts as giving up."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize(text: str) -> str:
    """Lower the case, then drop ASCII punctuation, articles and surplus white space, in this order."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(candidate: str, answers: Sequence[str]) -> bool:
    """Say whether `candidate` equals one of the `answers` after normalisation.

    This is the published metric, kept with its oddities: it reads "5.2" as "52", and "the" equals "A".
    The judges guard against both.
    """
    normalized = normalize(candidate)
    return any(normalized == normalize(answer) for answer in answers)


def f1(candidate: str, answers: Sequence[str]) -> float:
    """Return the largest token-overlap F1 of `candidate` with one of the `answers`, in [0, 1]."""
    return max((_f1(candidate, answer) for answer in answers), default=0.0)


def _f1(candidate: str, answer: str) -> float:
    ours, theirs = normalize(candidate).split(), normalize(answer).split()
    shared = sum((Counter(ours) & Counter(theirs)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(ours), shared / len(theirs)
    return 2 * precision * recall / (precision + recall)


def is_give_up(text: str) -> bool:
    """Say whether `text` is the published way to give up: "Unable to answer due to lack of … information"."""
    return normalize(text).startswith("unable to answer")
