"""What the training questions tell about a new one: whether its form needs a search, and what is mostly answered."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmsearch_env.reading.expressions import referring_expressions
from mmsearch_env.records import Task

_WORDS = re.compile(r"[\w'’-]+")


def form_of(question: str) -> str:
    """Return the question with its referring expressions made equal, in small letters: its form."""
    form = " ".join(question.lower().split())
    for expression in referring_expressions(question):
        form = form.replace(expression, "it").replace(f"this {expression.removeprefix('the ')}", "it")
    return form


@dataclass(frozen=True, slots=True)
class Form:
    """A form of question seen in training.

    Attributes:
        words: its words.
        needs_search: what most of its questions need.
        answer: the most frequent answer among them.
        seen: how many there were.
    """

    words: frozenset[str]
    needs_search: bool
    answer: str
    seen: int


class Priors:
    """The forms of a training split; the nearest one speaks for a new question."""

    def __init__(self, forms: Sequence[Form]) -> None:
        """Take the forms, in an order that decides between equally near ones."""
        self._forms = list(forms)
        self._nearest: dict[str, Form | None] = {}

    @classmethod
    def from_tasks(cls, tasks: Iterable[Task]) -> Priors:
        """Count the forms of `tasks`."""
        grouped: dict[str, list[Task]] = {}
        for task in tasks:
            grouped.setdefault(form_of(task.question), []).append(task)
        forms = []
        for form in sorted(grouped):
            same = grouped[form]
            answers = Counter(task.answers[0] for task in same)
            answer = min(answers, key=lambda text: (-answers[text], text))
            needs_search = 2 * sum(task.needs_search for task in same) > len(same)
            forms.append(Form(frozenset(_WORDS.findall(form)), needs_search, answer, len(same)))
        return cls(forms)

    def nearest(self, question: str) -> Form | None:
        """Return the form that shares most words with `question` (Jaccard overlap), or None if none shares half."""
        form = form_of(question)
        if form not in self._nearest:
            words = frozenset(_WORDS.findall(form))
            # Compared as fractions of whole numbers; of equals, the form seen more often, then the first.
            best, best_key = None, (0, 1, 0)
            for candidate in self._forms:
                shared, both = len(words & candidate.words), len(words | candidate.words)
                if 2 * shared >= both and (shared * best_key[1], candidate.seen) > (best_key[0] * both, best_key[2]):
                    best, best_key = candidate, (shared, both, candidate.seen)
            self._nearest[form] = best
        return self._nearest[form]

    def to_json(self) -> list[list[object]]:
        """Return the forms as plain values."""
        return [[sorted(form.words), form.needs_search, form.answer, form.seen] for form in self._forms]

    @classmethod
    def from_json(cls, rows: Iterable[Sequence[object]]) -> Priors:
        """Rebuild from `to_json`."""
        return cls([Form(frozenset(words), bool(needs), str(answer), int(seen)) for words, needs, answer, seen in rows])  # type: ignore[call-overload]
