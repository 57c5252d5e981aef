"""Times the import, making an environment, its first reset and the first searches, in fresh processes.

python -m benchmarks.startup [--world atlas] [--quick] [--out benchmarks/results]
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.timing import Report, as_row, main
from benchmarks.turns import recorded_texts
from mmsearch_env import World

_PROGRAM = """
import json, sys, time
times = [time.perf_counter()]
def lap():
    times.append(time.perf_counter())
import gymnasium
lap()
import mmsearch_env
lap()
env = gymnasium.make("MMSearch-v0", world=sys.argv[1], split=sys.argv[2])
lap()
env.reset(seed=0)
lap()
env.reset(seed=1)
lap()
world = env.unwrapped.stage.world
world.text.search(mmsearch_env.Query(text=sys.argv[3]))
lap()
world.text.search(mmsearch_env.Query(text="nobody recorded this"))
lap()
print(json.dumps([late - early for early, late in zip(times, times[1:])]))
"""


def measure(world: World, recorded: str) -> list[float]:
    """Run the program once; return the seconds of its parts.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    command = [sys.executable, "-c", _PROGRAM, str(world.path), world.splits[0], recorded]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seconds: list[float] = json.loads(printed)
    return seconds


def run(world: World, *, quick: bool = False) -> Report:
    """Time fresh processes, one after the other."""
    recorded = recorded_texts(world, 5)[0].arguments["query"]
    runs = [measure(world, recorded) for _ in range(1 if quick else 12)]
    gymnasium, ours, make, first, second, replayed, indexed = (list(part) for part in zip(*runs, strict=True))
    both = [sum(pair) for pair in zip(gymnasium, ours, strict=True)]
    ready = [sum(pair) for pair in zip(make, first, strict=True)]
    rows = [
        as_row("import gymnasium", gymnasium, unit="ms"),
        as_row("import mmsearch_env, gymnasium included", both, unit="ms", reference="import gymnasium", budget=500),
        as_row("gym.make", make, unit="ms"),
        as_row("first reset", first, unit="ms"),
        as_row("gym.make and first reset", ready, unit="ms", budget=1000),
        as_row("second reset, another task", second, unit="ms"),
        as_row("first replayed search", replayed, unit="ms"),
        as_row("first search of the index", indexed, unit="ms"),
    ]
    counts = world.manifest["counts"]
    notes = (
        f"World {world.name}: {counts['tasks']} tasks, {counts['documents']} documents, "
        f"{counts['recordings']} recorded searches. The files are in the system's cache.",
        "gym.make reads and checks tasks and documents. The first search reads and checks the recordings; the first "
        "one that nobody recorded imports bm25s and builds the index.",
    )
    return Report("startup", "From a fresh process to the first observation and the first searches", rows, notes)


if __name__ == "__main__":
    main(run, __doc__ or "")
