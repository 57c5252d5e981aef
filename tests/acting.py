"""How tests write a policy's turns: as the ids that a policy would emit."""

from __future__ import annotations

from mmsearch_env.records import Answer, ToolCall

WHOLE = ToolCall("image_search", {})


def ids_of(stage, *moves, reason="because"):
    """Return the ids of one turn per move, each with its end-of-turn id; a str is a turn as it stands."""
    ids = []
    for move in moves:
        text = move if isinstance(move, str) else stage.rules.dialect.render(move, reason)
        ids += [*stage.codec.encode_move(text), stage.codec.end_of_turn_id]
    return ids


def ask(query):
    """Return a text search."""
    return ToolCall("text_search", {"query": query})


def look(expression):
    """Return the image search of a region."""
    return ToolCall("image_search", {"expression": expression})


def say(text):
    """Return an answer."""
    return Answer(text)


def run(env, ids):
    """Step `env` through `ids`; return all step results."""
    return [env.step(token_id) for token_id in ids]
