"""Hypothesis strategies for texts and moves."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from mmsearch_env.records import Answer, ToolCall

TAG_NAMES = (
    "reason|think|information|text_search|img_search|search|img|img_crop|answer|tool_call|tool_response|web_search"
)
TAG = re.compile(f"</?({TAG_NAMES})>")
CONTROL_TOKENS = (
    "<|im_end|>",
    "<|im_start|>",
    "<|endoftext|>",
    "<|image_pad|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|fim_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "<think>",
)

# Any text, and such as is made of what might be mistaken for something else.
hostile_texts = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(CONTROL_TOKENS),
        st.sampled_from([f"<{slash}{name}>" for name in TAG_NAMES.split("|") for slash in ("", "/")]),
        st.sampled_from(
            ["{", "}", '"name"', '"arguments"', "[1,2,3,4]", "[1,2", "img", "<img></img>", " ", "\n", "<", ">"]
        ),
    ),
    max_size=12,
).map("".join)

# What may stand in a query, an answer or a reason: stripped, not empty, no dialect's tag.
plain_texts = st.text(min_size=1, max_size=40).map(str.strip).filter(lambda text: text != "" and not TAG.search(text))
expressions = plain_texts.filter(lambda text: text != "img" and not text.startswith("["))


@st.composite
def pixel_boxes(draw) -> list[int]:
    """Draw `[left, top, right, bottom]` with an area."""
    left, top = draw(st.integers(0, 4000)), draw(st.integers(0, 4000))
    return [left, top, left + draw(st.integers(1, 4000)), top + draw(st.integers(1, 4000))]


answers = plain_texts.map(Answer)
text_searches = plain_texts.map(lambda query: ToolCall("text_search", {"query": query}))
whole_image_searches = st.just(ToolCall("image_search", {}))
region_searches = st.one_of(
    expressions.map(lambda expression: ToolCall("image_search", {"expression": expression})),
    pixel_boxes().map(lambda box: ToolCall("image_search", {"box": box})),
)

moves = {
    "deepmmsearch_r1": st.one_of(answers, text_searches, whole_image_searches, region_searches),
    "mmsearch_r1": st.one_of(answers, text_searches, whole_image_searches),
    "search_r1": st.one_of(answers, text_searches),
    "tool_call": st.one_of(answers, text_searches, whole_image_searches, region_searches),
}
"""By dialect: the moves that it can express."""
