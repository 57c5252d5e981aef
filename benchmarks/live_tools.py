"""Times a vector step in which every row's turn ends with a search that waits 50 ms, with and without threads.

python -m benchmarks.live_tools [--world atlas] [--quick] [--out benchmarks/results]
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.timing import Report, as_row, main, time_calls
from mmsearch_env import Hit, Query, ToolCall, World
from mmsearch_env.vector import MMSearchVectorEnv
from mmsearch_env.worlds import Backends

ROWS = 16
WAIT = 0.05


class SlowBackend:
    """Stands for a live provider: it waits, then finds one page."""

    def __init__(self, hit: Hit) -> None:
        """Take what is found."""
        self._hit = hit

    def search(self, query: Query, k: int = 5) -> list[Hit]:
        """Wait and return the hit."""
        time.sleep(WAIT)
        return [self._hit]


def time_turn_ends(world: World, *, threads: int, repeats: int) -> list[float]:
    """Return the seconds of vector steps in which all rows search."""
    document = next(iter(world.documents.values()))
    slow = SlowBackend(Hit(document.id, document.title, document.url, document.title, 1.0, "slow"))
    envs = MMSearchVectorEnv(
        ROWS,
        world,
        split=world.splits[0],
        prompts="short",
        copy=False,
        tool_threads=threads,
        backends=Backends(text=slow, images=slow),
    )
    codec, dialect = envs.stage.codec, envs.stage.rules.dialect
    ids = codec.encode_move(dialect.render(ToolCall("text_search", {"query": "capital"}), "I have to look."))
    seconds = []
    for _ in range(repeats):
        envs.reset(seed=0)
        for token_id in ids:
            envs.step(np.full(ROWS, token_id))
        start = time.perf_counter()
        envs.step(np.full(ROWS, codec.end_of_turn_id))
        seconds.append(time.perf_counter() - start)
    envs.close()
    return seconds


def run(world: World, *, quick: bool = False) -> Report:
    """Time 16 waiting searches in one vector step."""
    repeats = 2 if quick else 20
    with ThreadPoolExecutor(ROWS) as pool:
        bare = time_calls(lambda: list(pool.map(time.sleep, [WAIT] * ROWS)), repeats=repeats)
    reference = "16 sleeps in 16 threads"
    rows = [
        as_row(reference, bare, unit="ms"),
        as_row(
            "tool_threads=16",
            time_turn_ends(world, threads=ROWS, repeats=repeats),
            unit="ms",
            reference=reference,
            budget=60,
        ),
        as_row(
            "tool_threads=0",
            time_turn_ends(world, threads=0, repeats=max(repeats // 5, 1)),
            unit="ms",
            reference=reference,
        ),
    ]
    notes = (f"{ROWS} rows, each of which ends its turn with a search that waits {WAIT * 1000:.0f} ms.",)
    return Report("live_tools", "A vector step with 16 searches of 50 ms", rows, notes)


if __name__ == "__main__":
    main(run, __doc__ or "")
