"""What a dialect is: a published agent's language (grammar, prompts, wording of tool turns, limits, format rule)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from mmsearch_env.records import Move, ToolResult, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much an episode may use.

    Attributes:
        max_tool_calls: tool calls in all; one more ends the episode as truncated.
        max_image_searches: image searches, whole or cropped; one more is answered with an error
            and counts as a tool call.
        max_text_searches: text searches, or None for no limit of their own; one more is answered with an error.
        max_turns: turns of the policy, or None; after the last one the episode is truncated.
    """

    max_tool_calls: int = 10
    max_image_searches: int = 1
    max_text_searches: int | None = None
    max_turns: int | None = None


@dataclass(frozen=True, slots=True)
class ToolTurn:
    """The text of a tool answer in pieces: `head + blocks + tail`; blocks may be dropped from the end, never cut."""

    head: str
    blocks: tuple[str, ...]
    tail: str


class Dialect(Protocol):
    """A published agent's language."""

    name: str
    limits: Limits
    system: str | None
    on_malformed: Literal["answer", "end"]
    on_no_box: Literal["error", "whole"]

    def prompt(self, prompts: str) -> str:
        """Return the trusted text of the first user turn, before the question.

        Args:
            prompts: `full`, `short`, or the path of a text file.

        Raises:
            ConfigurationError: if there is no such set of prompts.
        """
        ...

    def parse(self, text: str) -> Move:
        """Read a finished turn of the policy.

        Raises:
            ActionError: if the turn is malformed; the message is shown to the policy.
        """
        ...

    def render(self, move: Move, reason: str = "") -> str:
        """Write a move as this dialect's policy would; `parse(render(move, reason)) == move`."""
        ...

    def tool_turn(self, result: ToolResult, question: str, prompts: str) -> ToolTurn:
        """Word a tool's answer (or its error) for the next user turn."""
        ...

    def malformed_turn(self, message: str) -> str:
        """Word the answer to a malformed turn."""
        ...

    def follows_format(self, turns: Sequence[Turn]) -> bool:
        """Say whether a finished episode keeps the dialect's format rule (the paper's s_fmt)."""
        ...
