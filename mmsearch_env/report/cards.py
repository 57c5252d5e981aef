"""What the page shows of one episode, as plain records for the template."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmsearch_env.codec import Codec
from mmsearch_env.pictures import encode_png
from mmsearch_env.records import Box, Document, Turn
from mmsearch_env.render import headline
from mmsearch_env.report.runs import Run, is_right
from mmsearch_env.trajectory import Trajectory

_REPLACEMENT = "�"


@dataclass(frozen=True, slots=True)
class HitLine:
    """A search result: the page's title, or its id where the world is not at hand; whether it holds the answer."""

    title: str
    url: str
    is_evidence: bool


@dataclass(frozen=True, slots=True)
class TurnLine:
    """A turn: its kind and what it was about (the query, the answer), the policy's own text, and what came of it."""

    number: int
    kind: str
    about: str
    text: str
    error: str | None
    hits: tuple[HitLine, ...]
    box: Box | None
    answered: bool


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the context that was all sampled by the policy, or all written by the environment."""

    sampled: bool
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """One episode on the page."""

    agent: str
    trajectory: Trajectory
    image: str
    width: int
    height: int
    right: bool
    turns: tuple[TurnLine, ...]
    spans: tuple[Span, ...]
    sampled: int

    @property
    def boxed(self) -> list[TurnLine]:
        """The turns that searched a region."""
        return [turn for turn in self.turns if turn.box is not None]


def make_card(run: Run, trajectory: Trajectory, documents: Mapping[str, Document], codec: Codec | None) -> Card:
    """Gather what the page shows of an episode.

    Args:
        run: the run that the episode is of.
        trajectory: the episode.
        documents: the world's pages by id, for their titles; may be empty.
        codec: writes the token ids as text; None leaves them out.

    Raises:
        TrajectoryError: if the picture is missing or damaged.
    """
    pixels = run.image(trajectory.images[0])
    evidence = trajectory.task.metadata.get("evidence", ())
    turns = tuple(
        _turn_line(number, turn, documents, {evidence} if isinstance(evidence, str) else set(evidence))
        for number, turn in enumerate(trajectory.turns, start=1)
    )
    return Card(
        agent=run.agent,
        trajectory=trajectory,
        image="data:image/png;base64," + base64.b64encode(encode_png(pixels)).decode(),
        width=pixels.shape[1],
        height=pixels.shape[0],
        right=is_right(trajectory),
        turns=turns,
        spans=() if codec is None else tuple(token_spans(trajectory, codec)),
        sampled=int(trajectory.loss_mask.sum()),
    )


def _turn_line(number: int, turn: Turn, documents: Mapping[str, Document], evidence: set[Any]) -> TurnLine:
    hits = []
    for document_id in turn.hits:
        document = documents.get(document_id)
        title, url = (document_id, "") if document is None else (document.title, document.url)
        hits.append(HitLine(title, url, document_id in evidence))
    about = headline(turn).partition(": ")[2]
    return TurnLine(number, turn.kind, about, turn.text, turn.error, tuple(hits), turn.box, turn.appended > 0)


def token_spans(trajectory: Trajectory, codec: Codec) -> list[Span]:
    """Write the context as text, token by token, cut where the loss mask changes.

    A character whose bytes lie in several tokens is one piece.
    """
    spans: list[Span] = []
    mask = trajectory.loss_mask.tolist()
    ids = trajectory.token_ids.tolist()
    start = 0
    for end in range(1, len(ids) + 1):
        if end == len(ids) or mask[end] != mask[start]:
            spans.append(Span(bool(mask[start]), tuple(_pieces(ids[start:end], codec))))
            start = end
    return spans


def _pieces(ids: Sequence[int], codec: Codec) -> list[str]:
    pieces: list[str] = []
    pending: list[int] = []
    for token_id in ids:
        pending.append(token_id)
        text = codec.decode(pending)
        # UTF-8 has at most four bytes a character; whatever is still broken then is shown as it is.
        if not text.endswith(_REPLACEMENT) or len(pending) == 4:
            pieces.append(text)
            pending = []
    return [*pieces, codec.decode(pending)] if pending else pieces
