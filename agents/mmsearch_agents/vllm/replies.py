"""Reading what a vLLM server answers, and refusing what is not what was asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn

from mmsearch_env.codec import Codec
from mmsearch_env.errors import WebFault

_NO_LOGPROB = -9999.0
"""What vLLM sends where there is no log-probability, or one of minus infinity."""

_ROUNDING = 1e-3
"""How far above 0 a log-probability may come out."""


@dataclass(frozen=True, slots=True)
class Generated:
    """What a server sampled.

    Attributes:
        token_ids: of the turn, its end-of-turn id included where it came to its end.
        logprobs: of these ids under the distribution that they were drawn from, as many.
        ended: whether the turn came to its end, and not only to `max_tokens`.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: bool


def served_models(answer: Any, url: str) -> dict[str, str | None]:
    """Return name -> folder or hub id of the models in an answer of `/v1/models`, at least one.

    Raises:
        WebFault: of kind `schema`.
    """
    match answer:
        case {"data": [_, *_] as cards} if all(isinstance(card, dict) and card.get("id") for card in cards):
            return {str(card["id"]): card.get("root") for card in cards}
    _refuse(f"a list of models from {url}", answer)


def generated(answer: Any, asked: Sequence[int], codec: Codec, *, pictures: int, max_tokens: int) -> Generated:
    """Read an answer of `/inference/v1/generate`.

    Args:
        answer: its JSON.
        asked: the ids that were sent.
        codec: of the tokenizer.
        pictures: how many pictures were sent.
        max_tokens: how many ids were asked for.

    Raises:
        WebFault: of kind `schema`, if ids or log-probabilities are missing or do not belong together, if an id is
            forbidden, if the turn ended neither by its end-of-turn id nor at `max_tokens`, or if the server read
            something else than it was sent.
    """
    match answer:
        case {
            "choices": [
                {"token_ids": [_, *_] as ids, "finish_reason": str(reason), "logprobs": {"content": list(rows)}}
            ],
            "prompt_token_ids": list(prompt),
            **rest,
        }:
            pass
        case _:
            _refuse("one choice with token_ids, logprobs and finish_reason, and prompt_token_ids", answer)
    _check_prompt(prompt, rest.get("mm_placeholders"), asked, codec, pictures)
    if [row.get("token_id") if isinstance(row, dict) else None for row in rows] != ids:
        _refuse(f"one log-probability for each of {len(ids)} ids", rows)
    logprobs: list[Any] = [row.get("logprob") for row in rows]
    if not all(type(value) in (int, float) and _NO_LOGPROB < value <= _ROUNDING for value in logprobs):
        _refuse("finite log-probabilities, none above 0", logprobs)
    for token_id in ids:
        if type(token_id) is not int or not 0 <= token_id < codec.vocab_size or not codec.action_mask[token_id]:
            _refuse("ids that a policy may emit (give vocab_size if the model has more than the tokenizer)", token_id)
    ended = ids[-1] == codec.end_of_turn_id
    if codec.end_of_turn_id in ids[:-1] or reason not in (("stop", "length") if ended else ("length",)):
        _refuse("a turn that ends with its end-of-turn id or at max_tokens", {"finish_reason": reason, "ids": ids[-5:]})
    if len(ids) > max_tokens or (not ended and len(ids) < max_tokens):
        _refuse(f"{max_tokens} ids of a turn that goes on; raise --max-model-len", {"ids": len(ids), "reason": reason})
    return Generated(tuple(ids), tuple(float(value) for value in logprobs), ended)


def _check_prompt(prompt: list[Any], shown: Any, asked: Sequence[int], codec: Codec, pictures: int) -> None:
    """Check that the server read the ids that it was sent, with each placeholder made as long as a picture."""
    found = [here for before, here in pairwise([None, *prompt]) if not here == before == codec.image_id]
    if found != list(asked):
        _refuse(f"the server to read the {len(asked)} ids that it was sent", found)
    images = shown.get("image") if isinstance(shown, dict) else None
    if (len(images) if isinstance(images, list) else 0) != pictures:
        _refuse(f"the server to see {pictures} pictures", shown)


def _refuse(expected: str, got: Any) -> NoReturn:
    text = json.dumps(got, ensure_ascii=False, default=str)
    shown = text if len(text) <= 200 else text[:199] + "…"
    raise WebFault(f"Expected {expected}, got {shown}.", "schema")
