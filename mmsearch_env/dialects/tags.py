"""Reading and wording tagged turns: what the bundled dialects share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from mmsearch_env.dialects.dialect import Dialect, Limits
from mmsearch_env.errors import ActionError, unknown
from mmsearch_env.records import Box, Move, Turn

GIVE_UP = "Unable to answer due to lack of relevant information"
"""What DeepMMSearch-R1 and MMSearch-R1 answer when the results do not help."""

_ANY_TAG = re.compile(r"</?([A-Za-z_]{1,40})>")
_NUMBERS = re.compile(r"\[[\s\d,.+-]*\]")
_BOX = re.compile(r"\[\s*(-?\d{1,6})\s*,\s*(-?\d{1,6})\s*,\s*(-?\d{1,6})\s*,\s*(-?\d{1,6})\s*\]", re.ASCII)


@dataclass(frozen=True, slots=True)
class Element:
    """A tag pair in a turn: `text[start:end]` with the tags, `body` without them, stripped."""

    name: str
    body: str
    start: int
    end: int


@lru_cache(maxsize=32)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(f"<(/?)({'|'.join(names)})>")


def scan(text: str, names: tuple[str, ...]) -> list[Element]:
    """Return the elements with one of `names` in order, in time linear in the text. Other tags are plain text.

    Raises:
        ActionError: if a tag is not closed, not opened, or stands inside another one.
    """
    elements: list[Element] = []
    opened: re.Match[str] | None = None
    for tag in _pattern(names).finditer(text):
        closing, name = tag.groups()
        if opened is None:
            if closing:
                raise ActionError(f"Expected <{name}> before </{name}>, got only the closing tag. Write both.")
            opened = tag
        elif closing and name == opened[2]:
            body = text[opened.end() : tag.start()].strip()
            elements.append(Element(name, body, opened.start(), tag.end()))
            opened = None
        else:
            raise ActionError(
                f"Expected </{opened[2]}> to close <{opened[2]}>, got {tag[0]} inside it. Tags may not be nested."
            )
    if opened is not None:
        raise ActionError(f"Expected </{opened[2]}> to close <{opened[2]}>, got the end of the turn.")
    return elements


def final_action(text: str, elements: Sequence[Element], actions: tuple[str, ...]) -> Element:
    """Return the one element that is an action; it must be the last thing in the turn and not be empty.

    Raises:
        ActionError: if there is none, more than one, text after it, or nothing in it.
    """
    found = [element for element in elements if element.name in actions]
    if not found:
        raise ActionError(_no_action(text, actions))
    if len(found) > 1:
        raise ActionError(f"Expected exactly one action per turn, got {len(found)}. Keep one.")
    action = found[0]
    if text[action.end :].strip():
        raise ActionError(
            f"Expected the turn to end with </{action.name}>, got more text after it: {quote(text[action.end :])}."
        )
    if not action.body:
        raise ActionError(f"Expected text between <{action.name}> and </{action.name}>, got nothing.")
    return action


def _no_action(text: str, actions: tuple[str, ...]) -> str:
    for tag in _ANY_TAG.finditer(text):
        if tag[1] not in ("reason", "think", "information", *actions):
            return unknown("the action's tag", tag[1], actions)
    listed = ", ".join(f"<{name}>…</{name}>" for name in actions)
    return f"Expected the turn to end with an action, got none. End it with one of: {listed}."


def region(text: str) -> dict[str, list[int]] | None:
    """Read `[x1,y1,x2,y2]` as the argument `box`, or return None if `text` is not a list of numbers.

    Raises:
        ActionError: if the numbers are not four whole ones, or the box is empty.
    """
    if not _NUMBERS.fullmatch(text):
        return None
    match = _BOX.fullmatch(text)
    if match is None:
        raise ActionError(f"Expected a box [x1,y1,x2,y2] of four whole numbers in pixels, got {quote(text)}.")
    return box_argument([int(value) for value in match.groups()])


def box_argument(values: Sequence[int]) -> dict[str, list[int]]:
    """Return the argument `box` for four numbers.

    Raises:
        ActionError: if they are not four whole numbers, or the box is empty.
    """
    if any(isinstance(value, bool) or (isinstance(value, int) and abs(value) > 999_999) for value in values):
        raise ActionError("Expected a box [x1,y1,x2,y2] in pixels of the picture, got values that are no pixels.")
    if len(values) != 4 or not all(isinstance(value, int) for value in values):
        raise ActionError(f"Expected four whole numbers [x1,y1,x2,y2], got {quote(repr(values))}.")
    try:
        return {"box": Box.of(values).as_list()}
    except ValueError as error:
        raise ActionError(str(error)) from error


def keeps_form(text: str, reason: str, names: tuple[str, ...]) -> bool:
    """Say whether a turn is one non-empty `<reason>` pair (under the name given), one other element, and blanks."""
    try:
        elements = scan(text, names)
    except ActionError:
        return False
    if len(elements) != 2:
        return False
    first, second = elements
    outside = text[: first.start] + text[first.end : second.start] + text[second.end :]
    return first.name == reason and bool(first.body) and second.name != reason and not outside.strip()


def rendered(dialect: Dialect, move: Move, text: str) -> str:
    """Return `text` if the dialect reads it as `move`.

    Raises:
        ActionError: if it does not: the move cannot be said in this dialect.
    """
    try:
        read = dialect.parse(text)
    except ActionError as error:
        raise ActionError(
            f"Expected a move (and reason) that {dialect.name} can express, got {quote(repr(move))}: {error}"
        ) from error
    if read != move:
        raise ActionError(
            f"Expected a move that {dialect.name} can express, got {quote(repr(move))}, which would be read as "
            f"{quote(repr(read))}. Mind blanks at either end and reserved words."
        )
    return text


def inexpressible(dialect: Dialect, move: Move) -> ActionError:
    """Return the error for a kind of move that the dialect has no words for."""
    return ActionError(f"Expected a move that {dialect.name} can express, got {quote(repr(move))}.")


def keeps_limits(turns: Sequence[Turn], limits: Limits) -> bool:
    """Say whether no turn is malformed, the last one answers, and no kind of search was used beyond its limit."""
    kinds = [turn.kind for turn in turns]
    texts = limits.max_text_searches
    return (
        bool(kinds)
        and kinds[-1] == "answer"
        and "malformed" not in kinds
        and kinds.count("image_search") <= limits.max_image_searches
        and (texts is None or kinds.count("text_search") <= texts)
    )


def numbered(blocks: Sequence[str], label: str = "{}. ") -> tuple[str, ...]:
    """Return result blocks behind numbered labels, a line end after each; or one line that there are none."""
    if not blocks:
        return ("No results.\n",)
    return tuple(f"{label.format(number)}{block.strip()}\n" for number, block in enumerate(blocks, start=1))


def quote(text: str, limit: int = 80) -> str:
    """Return `text` in quotes, cut to `limit` characters."""
    stripped = text.strip()
    return repr(stripped if len(stripped) <= limit else stripped[: limit - 1] + "…")
