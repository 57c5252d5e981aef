"""The grammar of each bundled dialect, against texts from the publications and against malformed ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsearch_env.codec import load_codec
from mmsearch_env.dialects import DIALECTS, DeepMMSearchR1, MMSearchR1, SearchR1, ToolCallDialect, get_dialect
from mmsearch_env.errors import ActionError, ConfigurationError
from mmsearch_env.records import Answer, ToolCall, ToolResult, Turn

GOLDEN = Path(__file__).with_name("golden") / "dialects"
WHOLE = ToolCall("image_search", {})


def text(query):
    return ToolCall("text_search", {"query": query})


def region(expression):
    return ToolCall("image_search", {"expression": expression})


def box(*values):
    return ToolCall("image_search", {"box": list(values)})


def turn(kind, words):
    return Turn(kind=kind, text=words, start=0, end=1)


def test_an_unknown_dialect_is_refused_with_the_closest_name():
    with pytest.raises(ConfigurationError, match=r"Did you mean 'deepmmsearch_r1'\?"):
        get_dialect("deepmmsearch-r1")


def test_an_instance_is_taken_as_it_is():
    dialect = DeepMMSearchR1(on_malformed="end")
    assert get_dialect(dialect) is dialect


@pytest.mark.parametrize("name", DIALECTS)
def test_prompts_fit_their_budget_of_tokens(name):
    codec, dialect = load_codec(), get_dialect(name)
    assert len(codec.encode_move(dialect.prompt("full"))) < 420
    assert len(codec.encode_move(dialect.prompt("short"))) < 60


def conversation(name):
    """Return all that a policy sees and writes in a small episode, as text."""
    codec, dialect = load_codec(), get_dialect(name)
    question = "What is the capital of the country whose flag this is?"
    pages = ("Flag of Norway\nhttps://example.org/flag\nThe flag of Norway is red.", "Norway\nIts capital is Oslo.")
    moves = [text("capital of Norway"), Answer("Oslo")]
    if name != "search_r1":
        moves.insert(0, WHOLE)
    ids = codec.prompt_ids(dialect.system, dialect.prompt("full"), question)
    for move in moves:
        ids += [*codec.encode_move(dialect.render(move, "I think.")), codec.end_of_turn_id]
        if isinstance(move, ToolCall):
            said = dialect.tool_turn(ToolResult(call=move, blocks=pages), question, "full")
            answered = codec.tool_turn_ids(said.head, said.blocks, said.tail, budget=1000)
            assert answered is not None
            ids += answered[0]
    return codec.decode(ids) + "\n"


@pytest.mark.parametrize("name", DIALECTS)
def test_a_conversation_reads_as_the_golden_one(name):
    assert conversation(name) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "move"),
    [
        # Figure 1 of the paper, stray blanks included.
        (
            "<img_search>the white bird flying over the water </img_search>",
            region("the white bird flying over the water"),
        ),
        ("<text_search>speed of egret</text_search>", text("speed of egret")),
        ("<text_search>highest recorded speed of egret </text_search>", text("highest recorded speed of egret")),
        ("<answer>32 miles per hour </answer>", Answer("32 miles per hour")),
        # Figures G.1 and G.2.
        ("<answer>Least Concern</answer>", Answer("Least Concern")),
        ("<img_search><img></img_search>", WHOLE),
        (
            "<answer>The city shown in the image is Caesarea, and it is located in Israel.</answer>",
            Answer("The city shown in the image is Caesarea, and it is located in Israel."),
        ),
        # The alias of the paper's prose, and the extras.
        ("<img_search>img</img_search>", WHOLE),
        ("<img_search> <img> </img_search>", WHOLE),
        ("<img_search><img_crop>the red flag</img_crop></img_search>", region("the red flag")),
        ("<img_search><img_crop> [1, 2, 30, 40] </img_crop></img_search>", box(1, 2, 30, 40)),
        ("<img_search>[10,20,110,220]</img_search>", box(10, 20, 110, 220)),
        ("<img_search>[-5, 0, 10, 10]</img_search>", box(-5, 0, 10, 10)),
        ("<answer>x < y and <b>bold</b></answer>\n", Answer("x < y and <b>bold</b>")),
    ],
)
def test_deepmmsearch_r1_reads_the_published_forms(words, move):
    dialect = get_dialect("deepmmsearch_r1")
    assert dialect.parse(f"<reason>A thought.</reason>{words}") == move
    assert dialect.parse(f" <reason>\nA thought.\n</reason>\n\n{words} \n") == move
    assert dialect.parse(words) == move


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "got none"),
        ("<reason>Hm.</reason>", "got none"),
        ("The answer is Oslo.", "got none"),
        ("<text_search>a</text_search><answer>b</answer>", "got 2"),
        ("<text_search>a</text_search><text_search>b</text_search>", "got 2"),
        ("<answer>Oslo</answer> since I know.", "more text after it: 'since I know.'"),
        ("<answer>Oslo</answer><reason>I know.</reason>", "more text after it"),
        ("<text_search> </text_search>", "got nothing"),
        ("<img_search></img_search>", "got nothing"),
        ("<answer>\n</answer>", "got nothing"),
        ("<img_search><img></img></img_search>", "closing </img>"),
        ("<img_search><img_crop></img_crop></img_search>", "got nothing"),
        ("<img_search><img> the flag</img_search>", "expression or <img> alone"),
        ("<img_search><img_crop>flag</img_search>", "expression or <img> alone"),
        ("<img_search>[1,2,3]</img_search>", "four whole numbers"),
        ("<img_search>[1.5,2,3,4]</img_search>", "four whole numbers"),
        ("<img_search>[30,2,3,4]</img_search>", "left < right"),
        ("<web_search>Oslo</web_search>", "Did you mean 'text_search'"),
        ("<answer>Oslo", "got the end of the turn"),
        ("Oslo</answer>", "only the closing tag"),
        ("<reason>Hm <answer>Oslo</answer>", "may not be nested"),
        ("<answer><text_search>a</text_search></answer>", "may not be nested"),
        ("<information>1. Oslo</information><answer>Oslo</answer>", "only from a tool"),
    ],
)
def test_deepmmsearch_r1_says_what_is_wrong_with_a_malformed_turn(words, message):
    with pytest.raises(ActionError) as caught:
        get_dialect("deepmmsearch_r1").parse(words)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("<reason>I know.</reason><answer>Oslo</answer>", True),
        ("\n<reason>I know.</reason>\n<answer>Oslo</answer>\n", True),
        ("<answer>Oslo</answer>", False),
        ("<reason> </reason><answer>Oslo</answer>", False),
        ("<reason>a</reason><reason>b</reason><answer>Oslo</answer>", False),
        ("So: <reason>I know.</reason><answer>Oslo</answer>", False),
        ("<reason>I know.</reason> so <answer>Oslo</answer>", False),
    ],
)
def test_deepmmsearch_r1_asks_for_one_reason_and_one_action(words, kept):
    assert get_dialect("deepmmsearch_r1").follows_format([turn("answer", words)]) is kept


def test_deepmmsearch_r1_allows_many_text_searches_but_one_image_search():
    dialect = get_dialect("deepmmsearch_r1")
    search = turn("text_search", "<reason>r</reason><text_search>q</text_search>")
    image = turn("image_search", "<reason>r</reason><img_search><img></img_search>")
    answer = turn("answer", "<reason>r</reason><answer>a</answer>")
    assert dialect.follows_format([search, image, search, search, answer])
    assert not dialect.follows_format([image, image, answer])
    assert (dialect.limits.max_tool_calls, dialect.limits.max_image_searches) == (10, 1)


def test_deepmmsearch_r1_follows_results_with_what_to_do_next():
    dialect = get_dialect("deepmmsearch_r1")
    result = ToolResult(call=WHOLE, blocks=("Flag of Norway",))
    full, short = (dialect.tool_turn(result, "Q", prompts) for prompts in ("full", "short"))
    assert full.head + "".join(full.blocks) == "<information>\n1. Flag of Norway\n"
    assert full.tail.startswith("</information>\nUse these results")
    assert short.tail == "</information>"
    assert "more specific query" in dialect.tool_turn(ToolResult(call=text("q")), "Q", "full").tail


@pytest.mark.parametrize(
    "move",
    [
        region("img"),
        region("<img>"),
        region("[1,2,3,4]"),
        Answer(" Oslo"),
        Answer(""),
        text("a</text_search>b"),
        box(1, 2, 1, 4),
    ],
)
def test_deepmmsearch_r1_refuses_to_write_what_it_would_read_otherwise(move):
    with pytest.raises(ActionError):
        get_dialect("deepmmsearch_r1").render(move)


def test_mmsearch_r1_searches_the_whole_picture_only():
    dialect = get_dialect("mmsearch_r1")
    assert dialect.parse("<reason>r</reason><search><img></search>") == WHOLE
    assert dialect.parse("<reason>r</reason><text_search>q</text_search>") == text("q")
    with pytest.raises(ActionError, match="whole picture"):
        dialect.parse("<reason>r</reason><search>the flag</search>")
    with pytest.raises(ActionError, match="can express"):
        dialect.render(region("the flag"))


def test_mmsearch_r1_ends_at_the_bare_give_up_sentence_as_published():
    dialect = get_dialect("mmsearch_r1")
    assert dialect.on_malformed == "end"
    with pytest.raises(ActionError):
        dialect.parse("<reason>r</reason>Unable to answer due to lack of relevant information")


@pytest.mark.parametrize(
    ("kinds", "kept"),
    [
        ("a", True),
        ("ia", True),
        ("ta", True),
        ("ita", True),
        ("tia", False),
        ("tta", False),
        ("iia", False),
        ("it", False),
    ],
)
def test_mmsearch_r1_keeps_the_published_sequences(kinds, kept):
    dialect = get_dialect("mmsearch_r1")
    words = {
        "a": turn("answer", "<reason>r</reason><answer>a</answer>"),
        "i": turn("image_search", "<reason>r</reason><search><img></search>"),
        "t": turn("text_search", "<reason>r</reason><text_search>q</text_search>"),
    }
    assert dialect.follows_format([words[kind] for kind in kinds]) is kept
    assert dialect.limits.max_turns == 3


def test_mmsearch_r1_repeats_the_question_with_the_first_result():
    result = ToolResult(call=WHOLE, blocks=("one", "two"))
    said = get_dialect("mmsearch_r1").tool_turn(result, "Which flag is this?", "full")
    assert said.blocks == ("Original question: Which flag is this?\n1. one\n", "2. two\n")


def test_search_r1_knows_text_search_only_and_asks_to_try_again():
    dialect = get_dialect("search_r1")
    assert dialect.parse("<think>t</think>\n<search>q</search>") == text("q")
    assert dialect.parse("<think>t</think><answer>a</answer>") == Answer("a")
    assert dialect.limits.max_image_searches == 0
    assert "invalid" in dialect.malformed_turn("Expected an action.")
    assert not dialect.follows_format([turn("answer", "<reason>t</reason><answer>a</answer>")])
    with pytest.raises(ActionError, match="can express"):
        dialect.render(WHOLE)


@pytest.mark.parametrize(
    ("words", "move"),
    [
        ('I look.\n<tool_call>\n{"name": "text_search", "arguments": {"query": "q"}}\n</tool_call>', text("q")),
        ('<tool_call>{"name": "image_search", "arguments": {}}</tool_call>', WHOLE),
        ('<tool_call>{"name": "image_search"}</tool_call>', WHOLE),
        (
            '<tool_call>{"name": "image_search", "arguments": {"expression": "the flag"}}</tool_call>',
            region("the flag"),
        ),
        ('<tool_call>{"name": "image_search", "arguments": {"box": [1, 2, 3, 4]}}</tool_call>', box(1, 2, 3, 4)),
        ("<think>Call <tool_call>?</think>\n\nOslo.", Answer("Oslo.")),
        ("It is Norway. <answer>Oslo</answer>", Answer("Oslo")),
        ("The capital is Oslo.\n", Answer("The capital is Oslo.")),
    ],
)
def test_tool_call_reads_json_calls_and_plain_answers(words, move):
    assert get_dialect("tool_call").parse(words) == move


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("", "got nothing"),
        ("{", "Expected JSON"),
        pytest.param("[" * 100_000, "Expected JSON", id="deep"),
        pytest.param('{"name": "text_search", "arguments": ' + "9" * 5000 + "}", "Expected JSON", id="huge number"),
        ("[1]", "JSON object"),
        ('{"name": 3}', "JSON object"),
        ('{"name": "web_search", "arguments": {}}', "Did you mean 'text_search'"),
        ('{"name": "text_search", "arguments": "q"}', '"arguments" to be a JSON object'),
        ('{"name": "text_search", "arguments": {}}', "not empty"),
        ('{"name": "text_search", "arguments": {"query": " "}}', "not empty"),
        ('{"name": "text_search", "arguments": {"query": "q", "k": 3}}', "got 'k'"),
        ('{"name": "image_search", "arguments": {"expression": "a", "box": [1, 2, 3, 4]}}', "got both"),
        ('{"name": "image_search", "arguments": {"box": "left"}}', "x1, y1, x2, y2"),
        ('{"name": "image_search", "arguments": {"box": [1, 2, 3]}}', "four whole numbers"),
        (r'{"name": "text_search", "arguments": {"query": "a \ud800"}}', "half of a surrogate pair"),
        (r'{"name": "image_search", "arguments": {"expression": "\udfff"}}', "half of a surrogate pair"),
        ('{"name": "image_search", "arguments": {"box": [true, 0, 3, 4]}}', "no pixels"),
        ('{"name": "image_search", "arguments": {"box": [0, 0, 1e999, 4]}}', "four whole numbers"),
    ],
)
def test_tool_call_says_what_is_wrong_with_a_call(call, message):
    with pytest.raises(ActionError) as caught:
        get_dialect("tool_call").parse(f"<tool_call>{call}</tool_call>")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "box",
    [
        '["' + "a" * 9000 + '", 2, 3, 4]',
        "[" + ", ".join(["7"] * 900) + "]",
        '["\\ud800", 1, 2, 3]',
    ],
    ids=lambda box: f"{box[:3]}{len(box)}",
)
def test_a_wrong_box_is_quoted_in_brief(box):
    with pytest.raises(ActionError, match="Expected") as caught:
        get_dialect("tool_call").parse(
            f'<tool_call>{{"name": "image_search", "arguments": {{"box": {box}}}}}</tool_call>'
        )
    assert len(str(caught.value)) < 300
    str(caught.value).encode()


def test_a_nested_box_is_refused_at_any_depth():
    for depth in range(1, 1100):
        box = "[" * depth + "]" * depth
        with pytest.raises(ActionError, match="Expected"):
            get_dialect("tool_call").parse(
                f'<tool_call>{{"name": "image_search", "arguments": {{"box": {box}}}}}</tool_call>'
            )


@pytest.mark.parametrize(
    "words",
    [
        "",
        " \n",
        "<think>Hm.</think>",
        '{"name": "text_search", "arguments": {"query": "q"}}',
        '<tool_call>{"name": "image_search"}',
        '<tool_call>{"name": "image_search"}</tool_call><tool_call>{"name": "image_search"}</tool_call>',
        '<tool_call>{"name": "image_search"}</tool_call> Done.',
        "<tool_response>Oslo</tool_response><answer>Oslo</answer>",
    ],
)
def test_tool_call_takes_no_faulty_turn_for_an_answer(words):
    with pytest.raises(ActionError):
        get_dialect("tool_call").parse(words)


@pytest.mark.parametrize("dialect", [DeepMMSearchR1, MMSearchR1, SearchR1, ToolCallDialect])
def test_limits_and_rules_are_the_users_to_change(dialect):
    changed = dialect(on_malformed="end", on_no_box="whole")
    assert (changed.on_malformed, changed.on_no_box) == ("end", "whole")
