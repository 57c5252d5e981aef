"""The dialect of Qwen and Hermes models: JSON calls between `<tool_call>` and `</tool_call>`.

A turn may begin with free text (and, from reasoning models, a `<think>` block, which is not looked at). It ends with

    <tool_call>
    {"name": "text_search", "arguments": {"query": "…"}}
    </tool_call>

or with `image_search` and one of `{}` (the whole picture), `{"expression": "…"}` and `{"box": [x1, y1, x2, y2]}`. The
final answer is `<answer>…</answer>`, or else all of a turn that calls no tool: so chat models that know nothing of
`<answer>` can be evaluated as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mmsearch_env.dialects.dialect import Limits, ToolTurn
from mmsearch_env.dialects.prompting import load_prompts
from mmsearch_env.dialects.tags import (
    box_argument,
    final_action,
    inexpressible,
    keeps_limits,
    numbered,
    quote,
    rendered,
    scan,
)
from mmsearch_env.errors import ActionError, unknown
from mmsearch_env.records import Answer, Move, ToolCall, ToolResult, Turn

_ACTIONS = ("tool_call", "answer")
_TAGS = ("tool_response", *_ACTIONS)
_TOOLS = ("text_search", "image_search")
_SURROGATE = re.compile("[\ud800-\udfff]")
_EXAMPLE = '{"name": "text_search", "arguments": {"query": "…"}}'


@dataclass(kw_only=True, eq=False)
class ToolCallDialect:
    """JSON tool calls: text search, and image search of the whole picture or of a region of it.

    Attributes:
        limits: those of DeepMMSearch-R1: 10 tool calls, one of them an image search.
        system: None, so that the codec's default system turn is used.
        on_malformed: `answer` a malformed turn with an error, or `end` the episode.
        on_no_box: where no region fits an expression, answer with an `error`, or search the `whole` picture.
    """

    name: str = "tool_call"
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
            ActionError: if the turn calls a tool in a way that cannot be carried out, or is empty.
        """
        said = text.rpartition("</think>")[2]
        elements = scan(said, _TAGS)
        if any(element.name == "tool_response" for element in elements):
            raise ActionError("Expected <tool_response> only from a tool, got it in your own turn. Leave it out.")
        if not elements:
            return _plain_answer(said)
        action = final_action(said, elements, _ACTIONS)
        return Answer(action.body) if action.name == "answer" else _call(action.body)

    def render(self, move: Move, reason: str = "") -> str:
        """Write a move; `parse` reads it back.

        Raises:
            ActionError: if the move or the reason cannot be expressed, for instance since it holds a tag.
        """
        match move:
            case Answer(text=text):
                action = f"<answer>{text}</answer>"
            case ToolCall(name=name, arguments=arguments):
                try:
                    call = json.dumps({"name": name, "arguments": dict(arguments)}, ensure_ascii=False)
                except TypeError as error:
                    raise inexpressible(self, move) from error
                action = f"<tool_call>\n{call}\n</tool_call>"
        return rendered(self, move, f"{reason}\n{action}" if reason else action)

    def tool_turn(self, result: ToolResult, question: str, prompts: str) -> ToolTurn:
        """Word a tool's answer; the question is not repeated."""
        if result.error is not None:
            return ToolTurn("<tool_response>\n", (f"Error: {result.error}\n",), "</tool_response>")
        after = load_prompts(self.name, prompts).after(result.call.name)
        return ToolTurn("<tool_response>\n", numbered(result.blocks), f"</tool_response>{after}")

    def malformed_turn(self, message: str) -> str:
        """Word the answer to a malformed turn."""
        return f"<tool_response>\nError: {message}\n</tool_response>"

    def follows_format(self, turns: Sequence[Turn]) -> bool:
        """Say whether no turn is malformed, the last one answers, and the limits are kept."""
        return keeps_limits(turns, self.limits)


def _plain_answer(said: str) -> Answer:
    answer = said.strip()
    if not answer:
        raise ActionError("Expected a tool call or an answer, got an empty turn.")
    if answer.startswith("{") and '"arguments"' in answer:
        raise ActionError(f"Expected a tool call between <tool_call> and </tool_call>, got bare JSON: {quote(answer)}.")
    return Answer(answer)


def _call(body: str) -> ToolCall:
    try:
        return _read(json.loads(body), body)
    except ActionError:
        raise
    except (ValueError, RecursionError) as error:
        raise ActionError(f"Expected JSON like {_EXAMPLE} in <tool_call>, got {quote(body)}: {error}.") from error


def _read(call: Any, body: str) -> ToolCall:
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise ActionError(f"Expected a JSON object like {_EXAMPLE} in <tool_call>, got {quote(body)}.")
    name, arguments = call["name"], call.get("arguments", {})
    if name not in _TOOLS:
        raise ActionError(unknown("the tool's name", name[:40], _TOOLS))
    if not isinstance(arguments, dict):
        raise ActionError(f'Expected "arguments" to be a JSON object, got {quote(repr(arguments))}.')
    if name == "text_search":
        _only(name, arguments, ("query",))
        return ToolCall("text_search", {"query": _text(name, arguments, "query")})
    _only(name, arguments, ("expression", "box"))
    if len(arguments) == 2:
        raise ActionError('Expected at most one of "expression" and "box" for image_search, got both. Keep one.')
    if "expression" in arguments:
        return ToolCall("image_search", {"expression": _text(name, arguments, "expression")})
    if "box" in arguments:
        box = arguments["box"]
        if not isinstance(box, list):
            raise ActionError(f'Expected "box" to be [x1, y1, x2, y2], got {quote(repr(box))}.')
        return ToolCall("image_search", box_argument(box))
    return ToolCall("image_search")


def _only(tool: str, arguments: dict[str, Any], known: tuple[str, ...]) -> None:
    for argument in arguments:
        if argument not in known:
            raise ActionError(unknown(f"the arguments of {tool}", argument[:40], known))


def _text(tool: str, arguments: dict[str, Any], argument: str) -> str:
    value = arguments.get(argument)
    if not isinstance(value, str) or not value.strip():
        raise ActionError(f'Expected "{argument}" of {tool} to be a text that is not empty, got {quote(repr(value))}.')
    if _SURROGATE.search(value):
        raise ActionError(f'Expected "{argument}" of {tool} to be text, got half of a surrogate pair: {quote(value)}.')
    return value.strip()
