"""Reading an observation as a dialogue, the way a policy sees it: ids in, turns out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmsearch_env.codec import Codec


@dataclass(frozen=True, slots=True)
class Exchange:
    """One finished turn of the policy and what the environment told it next."""

    said: str
    told: str


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What a policy knows when it is to speak.

    Attributes:
        question: the question.
        exchanges: the turns so far.
        image: the observed picture, uint8 (H, W, 3).
        context: the ids so far, int32 (length,); what a seeded choice may depend on.
    """

    question: str
    exchanges: tuple[Exchange, ...]
    image: npt.NDArray[np.uint8]
    context: npt.NDArray[np.int32]


def read_dialogue(
    codec: Codec, context: npt.NDArray[np.int32], question: npt.NDArray[np.int32], image: npt.NDArray[np.uint8]
) -> Dialogue | None:
    """Return the dialogue of one row's observation, or None if it is not the policy's turn to begin.

    Turns are told apart by ids, never by text, so a page that quotes the chat format is only text.

    Args:
        codec: the environment's codec.
        context: the row's ids so far, int32 (length,).
        question: the row's padded question ids, int32.
        image: the row's picture.
    """
    starts = np.flatnonzero(context == codec.start_of_turn_id).tolist()
    if len(starts) < 2:
        return None
    turns = [_turn(codec, context[start + 1 : end]) for start, end in zip(starts, [*starts[1:], None], strict=True)]
    role, text, finished = turns[-1]
    if role != "assistant" or text or finished:
        return None
    later = [turn for turn in turns[2:] if turn[0] in ("assistant", "user")]
    said = [text for role, text, _ in later if role == "assistant"][:-1]
    told = [text for role, text, _ in later if role == "user"]
    words = codec.decode([token for token in question.tolist() if token != codec.pad_id])
    exchanges = tuple(Exchange(*pair) for pair in zip(said, told, strict=True))
    return Dialogue(words, exchanges, image, context.copy())


def _turn(codec: Codec, ids: npt.NDArray[np.int32]) -> tuple[str, str, bool]:
    """Return role, text, and whether the turn has ended."""
    ends = np.flatnonzero(ids == codec.end_of_turn_id)
    finished = len(ends) > 0
    role, _, text = codec.decode(ids[: ends[0]] if finished else ids).partition("\n")
    return role, text, finished
