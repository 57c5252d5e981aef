"""The dialect of Search-R1 (arXiv 2503.09516): thoughts, text searches, an answer.

Every turn is `<think>…</think>` and, at its end, `<search>query</search>` or `<answer>…</answer>`. There is no image
search: the policy has to name what it sees. Published code cuts a response behind the first action; here the ids that
were sampled stay as they are, so text behind the action makes the turn malformed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from mmsearch_env.dialects.dialect import Limits, ToolTurn
from mmsearch_env.dialects.prompting import load_prompts
from mmsearch_env.dialects.tags import final_action, inexpressible, keeps_form, keeps_limits, numbered, rendered, scan
from mmsearch_env.errors import ActionError
from mmsearch_env.records import Answer, Move, ToolCall, ToolResult, Turn

_ACTIONS = ("search", "answer")
_TAGS = ("think", "information", *_ACTIONS)


def _limits() -> Limits:
    return Limits(max_tool_calls=4, max_image_searches=0)


@dataclass(kw_only=True, eq=False)
class SearchR1:
    """Search-R1: text search only.

    Attributes:
        limits: 4 searches.
        system: None, so that the codec's default system turn is used.
        on_malformed: `answer` that the action is invalid, as published, or `end` the episode.
        on_no_box: of no use here, since there is no image search.
    """

    name: str = "search_r1"
    limits: Limits = field(default_factory=_limits)
    system: str | None = None
    on_malformed: Literal["answer", "end"] = "answer"
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
        return ToolCall("text_search", {"query": action.body})

    def render(self, move: Move, reason: str = "") -> str:
        """Write a move; `parse` reads it back.

        Raises:
            ActionError: if the move or the reason cannot be expressed, as any image search.
        """
        match move:
            case Answer(text=text):
                action = f"<answer>{text}</answer>"
            case ToolCall(name="text_search", arguments={"query": str(query)}):
                action = f"<search>{query}</search>"
            case _:
                raise inexpressible(self, move)
        return rendered(self, move, f"<think>{reason}</think>{action}" if reason else action)

    def tool_turn(self, result: ToolResult, question: str, prompts: str) -> ToolTurn:
        """Word a tool's answer; the question is not repeated."""
        if result.error is not None:
            return ToolTurn("<information>", (f"Error: {result.error}",), "</information>")
        after = load_prompts(self.name, prompts).after(result.call.name)
        return ToolTurn("<information>\n", numbered(result.blocks, "Doc {}: "), f"</information>{after}")

    def malformed_turn(self, message: str) -> str:
        """Word the answer to a malformed turn."""
        return (
            f"That action is invalid. {message} To search, put the query between <search> and </search>. To answer, "
            "put the answer between <answer> and </answer>. Please try again."
        )

    def follows_format(self, turns: Sequence[Turn]) -> bool:
        """Say whether each turn is one thought and one action, the last one an answer, within the limits."""
        return keeps_limits(turns, self.limits) and all(keeps_form(turn.text, "think", _TAGS) for turn in turns)
