"""What every dialect keeps, the bundled ones and those to come: add a name to the list."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch_env.dialects import DIALECTS, get_dialect
from mmsearch_env.errors import ActionError, ConfigurationError
from mmsearch_env.records import Answer, ToolCall, ToolResult, Turn
from tests.strategies import hostile_texts, moves, plain_texts

NAMES = list(DIALECTS)


@pytest.fixture(params=NAMES)
def dialect(request):
    return get_dialect(request.param)


def parse_or_error(dialect, text):
    try:
        return dialect.parse(text)
    except ActionError as error:
        return str(error)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_parse_inverts_render(name, data):
    dialect = get_dialect(name)
    move = data.draw(moves[name])
    reason = data.draw(st.one_of(st.just(""), plain_texts))
    assert dialect.parse(dialect.render(move, reason)) == move


@pytest.mark.parametrize("name", NAMES)
@given(text=st.one_of(hostile_texts, st.text()))
@settings(max_examples=300)
def test_any_text_is_a_move_or_an_action_error(name, text):
    outcome = parse_or_error(get_dialect(name), text)
    assert isinstance(outcome, Answer | ToolCall) or len(outcome) < 800


@pytest.mark.parametrize("name", NAMES)
@given(text=hostile_texts, reason=hostile_texts)
def test_render_says_what_was_meant_or_refuses(name, text, reason):
    dialect = get_dialect(name)
    for move in (
        Answer(text),
        ToolCall("text_search", {"query": text}),
        ToolCall("image_search", {"expression": text}),
    ):
        try:
            rendered = dialect.render(move, reason)
        except ActionError:
            continue
        assert dialect.parse(rendered) == move


@pytest.mark.parametrize(
    "piece",
    ["<", "<reason>", "</reason>", "<answer>", "<img_search><img>", "<tool_call>{", "<search></search>", "[", " "],
)
def test_a_huge_turn_is_read_in_linear_time(dialect, piece):
    started = time.process_time()
    for text in (piece * 100_000, f"<tool_call>{piece * 100_000}</tool_call>", f"<answer>{piece * 100_000}</answer>"):
        outcome = parse_or_error(dialect, text)
        assert isinstance(outcome, Answer | ToolCall) or len(outcome) < 800
    assert time.process_time() - started < 5


def test_prompts_come_in_two_sets_and_from_a_file(dialect, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("Look and answer.\n--- after text search ---\nGo on.\n")
    assert len(dialect.prompt("short")) < len(dialect.prompt("full"))
    assert dialect.prompt(str(path)) == "Look and answer."
    result = ToolResult(call=ToolCall("text_search", {"query": "x"}), blocks=("A page.",))
    assert dialect.tool_turn(result, "What?", str(path)).tail.endswith("\nGo on.")


@pytest.mark.parametrize("prompts", ["ful", "missing/prompts.txt", ""])
def test_prompts_that_do_not_exist_are_refused_with_the_known_ones(dialect, prompts):
    with pytest.raises(ConfigurationError, match="full, short"):
        dialect.prompt(prompts)


def test_prompts_that_are_no_text_are_refused(dialect, tmp_path):
    path = tmp_path / "picture.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"picture\.txt"):
        dialect.prompt(str(path))


@pytest.mark.parametrize("prompts", ["full", "short"])
def test_results_are_blocks_one_each_and_the_dialects_words_hold_none_of_them(dialect, prompts):
    result = ToolResult(call=ToolCall("text_search", {"query": "planted"}), blocks=("planted one", "planted two"))
    turn = dialect.tool_turn(result, "planted question", prompts)
    assert len(turn.blocks) == 2
    assert "planted one" in turn.blocks[0]
    assert "planted two" in turn.blocks[1]
    assert "planted" not in turn.head + turn.tail


def test_no_results_are_said_in_words(dialect):
    turn = dialect.tool_turn(ToolResult(call=ToolCall("text_search", {"query": "x"})), "What?", "short")
    assert "No results." in "".join(turn.blocks)


def test_an_error_is_worded_and_may_quote_the_policy_so_it_is_a_block(dialect):
    result = ToolResult(call=ToolCall("image_search"), error="Only one: <|im_end|>.")
    turn = dialect.tool_turn(result, "What?", "full")
    assert "Error: Only one: <|im_end|>." in "".join(turn.blocks)
    assert "im_end" not in turn.head + turn.tail
    assert "Expected this." in dialect.malformed_turn("Expected this.")


def test_an_episode_without_an_answer_or_with_a_malformed_turn_breaks_the_format(dialect):
    answer = Turn(kind="answer", text=dialect.render(Answer("Oslo"), "I know."), start=0, end=1)
    search = dialect.render(ToolCall("text_search", {"query": "Oslo"}), "I look it up.")
    searched = Turn(kind="text_search", text=search, start=0, end=1)
    malformed = Turn(kind="malformed", text="<answer>", start=0, end=1)
    assert dialect.follows_format([answer])
    assert dialect.follows_format([searched, answer])
    assert not dialect.follows_format([])
    assert not dialect.follows_format([searched])
    assert not dialect.follows_format([malformed, answer])


def test_too_many_image_searches_break_the_format(dialect):
    turns = [
        Turn(kind="image_search", text="<reason>r</reason><img_search>a</img_search>", start=0, end=1)
        for _ in range(dialect.limits.max_image_searches + 1)
    ]
    answer = Turn(kind="answer", text=dialect.render(Answer("Oslo"), "I know."), start=0, end=1)
    assert not dialect.follows_format([*turns, answer])


def test_its_parts_are_what_the_protocol_says(dialect):
    assert dialect.name in NAMES
    assert dialect.system is None or dialect.system
    assert dialect.on_malformed in ("answer", "end")
    assert dialect.on_no_box in ("error", "whole")
    assert dialect.limits.max_tool_calls > 0
