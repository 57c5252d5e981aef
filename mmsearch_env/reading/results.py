"""Reading a tool's answer as the policy sees it: numbered results, and the name that most of them agree on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBERED = re.compile(r"^(\d+)\. ", re.MULTILINE)
_END = re.compile(r"</(?:information|tool_response)>")
# What titles of pictures say beside the name of what is shown.
_KINDS = (
    r"(?:flag|pennant|map|outline|shape|chart|constellation|spectrum|photograph|photo|picture|poster|drawing|print)s?"
)
# "Flag of Norway", "Chart of the constellation Orion", "Signal flag Alfa", "How Alfa looks"
_BEFORE = re.compile(
    rf"^(?:how |(?:[\w-]+ )?(?:[\w-]+ )?{_KINDS}(?: lines)? (?:of |for )?|(?:[\w-]+ )?lines of )"
    rf"(?:the )?(?:constellation |element |signal )?(?:the )?",
    re.IGNORECASE,
)
# "Norway on the map", "Alfa signal flag", "Alfa looks", "Norway: an overview"
_AFTER = re.compile(
    rf"(?: on (?:the|a) .*|[\s–-]*(?:national |signal |code |star |outline |emission )?{_KINDS}| looks)$", re.IGNORECASE
)
# What is about many things at once: "The longest coasts: Asia", "Countries by area".
_LISTS = re.compile(r"(?:the (?:most [\w-]+|\w+est) |[\w-]+ by |lists? of )", re.IGNORECASE)
_NO_NAME = re.compile(_KINDS, re.IGNORECASE)
_PARENTHESIS = re.compile(r"\s*[(\[].*?[)\]]")


@dataclass(frozen=True, slots=True)
class Result:
    """One result of a tool's answer: its title and what is told of it."""

    title: str
    text: str


def read_results(told: str) -> list[Result]:
    """Return the numbered results of a tool's answer, best first; `[]` for an error or for no results.

    Args:
        told: the text of the turn that the environment appended.
    """
    body = _END.split(told, maxsplit=1)[0]
    starts: list[re.Match[str]] = []
    for match in _NUMBERED.finditer(body):
        # Only the next number in turn begins a result; any other stands inside a page.
        if int(match[1]) == len(starts) + 1:
            starts.append(match)
    ends = [match.start() for match in starts[1:]] + [len(body)]
    results = []
    for match, end in zip(starts, ends, strict=False):
        title, _, text = body[match.end() : end].strip().partition(": ")
        results.append(Result(title, text or title))
    return results


def name_in_title(title: str) -> str:
    """Return the name that a title is about: "Flag of Norway (print)" and "Norway on the map: its shape" give it."""
    plain = _PARENTHESIS.sub("", title).split(": ")[0].strip()
    name = _AFTER.sub("", _BEFORE.sub("", plain, count=1)).strip(" ,–-")
    return name or plain


def identify(results: Sequence[Result]) -> str | None:
    """Return the name that the results of an image search agree on: the one with the most votes, by 1 / rank.

    Votes are counted in whole numbers, and the better ranked name wins a tie. Lists name nothing and do not vote.
    """
    votes: dict[str, int] = {}
    for rank, result in enumerate(results, start=1):
        name = name_in_title(result.title)
        if name and not _LISTS.match(result.title) and not _NO_NAME.fullmatch(name):
            votes[name] = votes.get(name, 0) + 2520 // rank
    return max(votes, key=lambda name: votes[name]) if votes else None
