"""The schema of a stored trajectory: what a row must hold before a `Trajectory` is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mmsearch_env.errors import TrajectoryError
from mmsearch_env.records import is_digest
from mmsearch_env.worlds.rows import TASK_FIELDS, Field, is_box, row_faults

FORMAT_VERSION = 1

_LARGEST_ID = 2**31 - 1
_LARGEST_NUMBER = 3.4e38  # of a float32
_SHOWN = 80


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_string_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_number(value: Any) -> bool:
    # A comparison also refuses NaN and integers that no float can hold.
    in_range = isinstance(value, int | float) and -_LARGEST_NUMBER <= value <= _LARGEST_NUMBER
    return in_range and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST_ID


def _list_of(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(accepts, value))


def _are_numbers(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_number, value.values()))


_FIELDS = (
    Field("task", _is_mapping, "the row of a task"),
    Field("token_ids", _list_of(_is_count), "a list of ids, whole numbers from 0 on"),
    Field("loss_mask", _list_of(lambda value: type(value) is int and value in (0, 1)), "a list of 0 and 1"),
    Field("logprobs", lambda value: value is None or _list_of(_is_number)(value), "a list of finite numbers, or null"),
    Field("prompt_length", _is_count, "a whole number from 0 on"),
    Field("turns", _list_of(_is_mapping), "a list of JSON objects"),
    Field("answer", _is_string_or_none, "a string or null"),
    Field("reward", _is_number, "a finite number"),
    Field("reward_terms", _are_numbers, "an object of finite numbers"),
    Field("terminated", _is_flag, "true or false"),
    Field("truncated", _is_flag, "true or false"),
    Field("cause", _is_string_or_none, "a string or null"),
    Field("images", _list_of(is_digest), "a list of pictures' digests (64 hex digits)"),
    Field("world", _is_string, "a string"),
    Field("world_hash", _is_string, "a string"),
    Field("settings", _is_mapping, "a JSON object"),
    Field("versions", _is_mapping, "a JSON object"),
    Field("telemetry", _are_numbers, "an object of finite numbers", required=False),
)

_TURN_FIELDS = (
    Field("kind", _is_string, "a string"),
    Field("text", _is_string, "a string"),
    Field("start", _is_count, "a position in token_ids"),
    Field("end", _is_count, "a position in token_ids"),
    Field("arguments", _is_mapping, "a JSON object"),
    Field("hits", _list_of(_is_string), "a list of document ids"),
    Field("box", lambda value: value is None or is_box(value), "[left, top, right, bottom] or null"),
    Field("appended", _is_count, "a whole number from 0 on"),
    Field("error", _is_string_or_none, "a string or null"),
    Field("reward", _is_number, "a finite number"),
)


def check_row(row: Mapping[str, Any]) -> None:
    """Check that a trajectory can be made of `row`.

    Raises:
        TrajectoryError: if not; the message names the field that is wrong.
    """
    version = row.get("format_version")
    if type(version) is not int or version < 1:
        raise TrajectoryError(
            f"Expected a trajectory with format_version 1, got {_brief(version)}. Is this another kind of file?"
        )
    if version > FORMAT_VERSION:
        raise TrajectoryError(
            f"Expected format_version {FORMAT_VERSION} or older, got {_brief(version)}: the file was written by a "
            "newer mmsearch-env. Upgrade with `pip install -U mmsearch-env`."
        )
    _check(row, _FIELDS, "", ("format_version",))
    for fault in row_faults(row["task"], TASK_FIELDS):
        raise TrajectoryError(f"task: {fault}")
    length = len(row["token_ids"])
    for name in ("loss_mask", "logprobs"):
        if row[name] is not None and len(row[name]) != length:
            raise TrajectoryError(
                f"Expected {name!r} to be as long as 'token_ids', {length}, got {len(row[name])} values."
            )
    if row["prompt_length"] > length:
        raise TrajectoryError(f"Expected 'prompt_length' to be at most {length}, got {row['prompt_length']}.")
    for number, turn in enumerate(row["turns"], start=1):
        _check(turn, _TURN_FIELDS, f"turn {number}: ")
        if not turn["start"] <= turn["end"] <= length:
            raise TrajectoryError(
                f"turn {number}: Expected 'start' <= 'end' <= {length}, the number of ids, "
                f"got {turn['start']} and {turn['end']}."
            )


def check_digests(digests: Iterable[object]) -> None:
    """Check that each of `digests` is one, so that it may name a file.

    Raises:
        TrajectoryError: if not.
    """
    for digest in digests:
        if not is_digest(digest):
            raise TrajectoryError(f"Expected a picture's digest, 64 hex digits, got {_brief(digest)}.")


def _check(row: Mapping[str, Any], fields: tuple[Field, ...], where: str, further: tuple[str, ...] = ()) -> None:
    for fault in row_faults(row, fields):
        raise TrajectoryError(where + fault)
    surplus = sorted(row.keys() - {field.name for field in fields} - set(further))
    if surplus:
        raise TrajectoryError(f"{where}Expected the fields of a trajectory alone, got {_brief(surplus[0])} as well.")


def _brief(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
