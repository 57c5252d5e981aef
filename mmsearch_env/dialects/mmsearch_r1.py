"""The dialect of MMSearch-R1 (arXiv 2506.20670): three rounds, image search of the whole picture only.

Every turn is `<reason>…</reason>` and, at its end, one of

    <search><img></search>                the whole picture
    <text_search>query</text_search>
    <answer>…</answer>

As published, a round without a valid action ends the episode; so does the bare give-up sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from mmsearch_env.dialects.dialect import Limits, ToolTurn
from mmsearch_env.dialects.prompting import load_prompts
from mmsearch_env.dialects.tags import (
    final_action,
    inexpressible,
    keeps_form,
    keeps_limits,
    numbered,
    quote,
    rendered,
    scan,
)
from mmsearch_env.errors import ActionError
from mmsearch_env.records import Answer, Move, ToolCall, ToolResult, Turn

_ACTIONS = ("search", "text_search", "answer")
_TAGS = ("reason", "information", *_ACTIONS)
_SEQUENCES = frozenset(
    {
        ("answer",),
        ("image_search", "answer"),
        ("text_search", "answer"),
        ("image_search", "text_search", "answer"),
    }
)


def _limits() -> Limits:
    return Limits(max_tool_calls=3, max_image_searches=1, max_text_searches=2, max_turns=3)


@dataclass(kw_only=True, eq=False)
class MMSearchR1:
    """MMSearch-R1: one image search of the whole picture, text searches, three rounds in all.

    Attributes:
        limits: 3 rounds, 1 image search and 2 text searches, as in the released training script.
        system: None, so that the codec's default system turn is used.
        on_malformed: `end` the episode as published, or `answer` with an error.
        on_no_box: of no use here, since no region can be named.
    """

    name: str = "mmsearch_r1"
    limits: Limits = field(default_factory=_limits)
    system: str | None = None
    on_malformed: Literal["answer", "end"] = "end"
    on_no_box: Literal["error", "whole"] = "error"

    def prompt(self, prompts: str) -> str:
        """Return the text of the first user turn; see `Dialect.prompt`."""
        return load_prompts(self.name, prompts).initial

    def parse(self, text: str) -> Move:
        """Read a finished turn.

        Raises:
            ActionError: if the turn does not end with exactly one well-formed action.
        """
        elements = scan(text, _TAGS)
        if any(element.name == "information" for element in elements):
            raise ActionError("Expected <information> only from a tool, got it in your own turn. Leave it out.")
        action = final_action(text, elements, _ACTIONS)
        if action.name == "answer":
            return Answer(action.body)
        if action.name == "text_search":
            return ToolCall("text_search", {"query": action.body})
        if action.body != "<img>":
            raise ActionError(
                f"Expected <search><img></search>, which searches the whole picture, got {quote(action.body)} in it."
            )
        return ToolCall("image_search")

    def render(self, move: Move, reason: str = "") -> str:
        """Write a move; `parse` reads it back.

        Raises:
            ActionError: if the move or the reason cannot be expressed, as an image search of a region.
        """
        match move:
            case Answer(text=text):
                action = f"<answer>{text}</answer>"
            case ToolCall(name="text_search", arguments={"query": str(query)}):
                action = f"<text_search>{query}</text_search>"
            case ToolCall(name="image_search", arguments=arguments) if not arguments:
                action = "<search><img></search>"
            case _:
                raise inexpressible(self, move)
        return rendered(self, move, f"<reason>{reason}</reason>{action}" if reason else action)

    def tool_turn(self, result: ToolResult, question: str, prompts: str) -> ToolTurn:
        """Word a tool's answer, with the question said again before the results."""
        if result.error is not None:
            return ToolTurn("<information>", (f"Error: {result.error}",), "</information>")
        first, *rest = numbered(result.blocks)
        # The question is not trusted, so it goes with the first result rather than into the head; and it stands before
        # the results (the published order is the other way round) so that cutting drops results and never the question.
        blocks = (f"Original question: {question.strip()}\n{first}", *rest)
        after = load_prompts(self.name, prompts).after(result.call.name)
        return ToolTurn("Search results: <information>\n", blocks, f"</information>{after}")

    def malformed_turn(self, message: str) -> str:
        """Word the answer to a malformed turn, where one is given."""
        return f"<information>Error: {message}</information>"

    def follows_format(self, turns: Sequence[Turn]) -> bool:
        """Say whether the turns are one of the four published sequences, each with one reason and one action."""
        return (
            keeps_limits(turns, self.limits)
            and tuple(turn.kind for turn in turns) in _SEQUENCES
            and all(keeps_form(turn.text, "reason", _TAGS) for turn in turns)
        )
