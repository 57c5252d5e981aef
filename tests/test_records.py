"""What leaves a record can be changed without changing the record."""

from __future__ import annotations

from mmsearch_env.records import Box, Turn


def test_the_info_of_a_turn_shares_nothing_with_it():
    turn = Turn(kind="image_search", text="", start=0, end=1, arguments={"box": [1, 2, 3, 4]}, box=Box(1, 2, 3, 4))
    info = turn.as_info()
    info["arguments"]["box"].append(5)
    info["arguments"]["more"] = 1
    info["box"].append(5)
    info["hits"].append("x")
    assert turn == Turn(
        kind="image_search", text="", start=0, end=1, arguments={"box": [1, 2, 3, 4]}, box=Box(1, 2, 3, 4)
    )
