"""The dialect of DeepMMSearch-R1 (arXiv 2510.12801): reason, then one of four actions.

Every turn is `<reason>…</reason>` and, at its end, one of

    <text_search>query</text_search>
    <img_search>referring expression</img_search>       the region that the expression refers to
    <img_search><img></img_search>                      the whole picture; `img` is read alike
    <answer>…</answer>

Two more forms are read: `<img_search><img_crop>expression</img_crop></img_search>`, and a box `[x1,y1,x2,y2]` in pixels
of the original picture in place of an expression. A missing reason does not stop an action, but breaks the format rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mmsearch_env.dialects.dialect import Limits, ToolTurn
from mmsearch_env.dialects.prompting import load_prompts
from mmsearch_env.dialects.tags import (
    final_action,
    inexpressible,
    keeps_form,
    keeps_limits,
    numbered,
    quote,
    region,
    rendered,
    scan,
)
from mmsearch_env.errors import ActionError
from mmsearch_env.records import Answer, Move, ToolCall, ToolResult, Turn

_ACTIONS = ("text_search", "img_search", "answer")
_TAGS = ("reason", "information", *_ACTIONS)
_WHOLE = "<img>"


@dataclass(kw_only=True, eq=False)
class DeepMMSearchR1:
    """DeepMMSearch-R1: text search, and image search of the whole picture or of a region of it.

    Attributes:
        limits: 10 tool calls, one of them an image search (the paper's App. D).
        system: None, so that the codec's default system turn is used: the paper gives none.
        on_malformed: `answer` a malformed turn with an error, or `end` the episode.
        on_no_box: where no region fits an expression, answer with an `error`, or search the `whole` picture.
    """

    name: str = "deepmmsearch_r1"
    limits: Limits = field(default_factory=Limits)
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
        if action.name == "text_search":
            return ToolCall("text_search", {"query": action.body})
        return ToolCall("image_search", _image_arguments(action.body))

    def render(self, move: Move, reason: str = "") -> str:
        """Write a move; `parse` reads it back.

        Raises:
            ActionError: if the move or the reason cannot be expressed, for instance since it holds a tag.
        """
        match move:
            case Answer(text=text):
                action = f"<answer>{text}</answer>"
            case ToolCall(name="text_search", arguments={"query": str(query)}):
                action = f"<text_search>{query}</text_search>"
            case ToolCall(name="image_search", arguments=arguments) if not arguments:
                action = f"<img_search>{_WHOLE}</img_search>"
            case ToolCall(name="image_search", arguments={"expression": str(expression)}):
                action = f"<img_search>{expression}</img_search>"
            case ToolCall(name="image_search", arguments={"box": box}):
                action = f"<img_search>[{','.join(map(str, box))}]</img_search>"
            case _:
                raise inexpressible(self, move)
        return rendered(self, move, f"<reason>{reason}</reason>{action}" if reason else action)

    def tool_turn(self, result: ToolResult, question: str, prompts: str) -> ToolTurn:
        """Word a tool's answer; the question is not repeated."""
        if result.error is not None:
            return ToolTurn("<information>", (f"Error: {result.error}",), "</information>")
        after = load_prompts(self.name, prompts).after(result.call.name)
        return ToolTurn("<information>\n", numbered(result.blocks), f"</information>{after}")

    def malformed_turn(self, message: str) -> str:
        """Word the answer to a malformed turn."""
        return f"<information>Error: {message}</information>"

    def follows_format(self, turns: Sequence[Turn]) -> bool:
        """Say whether each turn is one reason and one action, the last one an answer, within the limits.

        The paper does not state its rule; ours is binary, and a search beyond a limit breaks it.
        """
        return keeps_limits(turns, self.limits) and all(keeps_form(turn.text, "reason", _TAGS) for turn in turns)


def _image_arguments(body: str) -> dict[str, Any]:
    if body in (_WHOLE, "img"):
        return {}
    if body.replace(" ", "") == "<img></img>":
        raise ActionError(
            "Expected <img_search><img></img_search> for the whole picture, got a closing </img> as well."
        )
    expression = body
    if expression.startswith("<img_crop>") and expression.endswith("</img_crop>"):
        expression = expression.removeprefix("<img_crop>").removesuffix("</img_crop>").strip()
    if not expression:
        raise ActionError("Expected a referring expression in <img_crop>, got nothing.")
    if any(tag in expression for tag in ("<img>", "</img>", "<img_crop>", "</img_crop>")):
        raise ActionError(f"Expected a referring expression or <img> alone in <img_search>, got {quote(body)}.")
    return region(expression) or {"expression": expression}
