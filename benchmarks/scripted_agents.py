"""What the scripted agents reach on atlas: the README's table. Run it as `python -m benchmarks.scripted_agents`."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from gymnasium.vector import AutoresetMode

from mmsearch_agents import AGENTS, make_learner
from mmsearch_agents.evaluate import evaluate, sample_tasks
from mmsearch_agents.metrics import Measures
from mmsearch_env import load_world
from mmsearch_env.vector import MMSearchVectorEnv

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Play every task of a split with every agent, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.add_argument("--split", default="test")
    parser.add_argument("--episodes", type=int, help="how many tasks; all of the split if left out")
    options = parser.parse_args()
    world = load_world("atlas")
    task_ids = sample_tasks(world.tasks(options.split), options.episodes, seed=0)
    rows: dict[str, Any] = {}
    for agent in AGENTS:
        envs = MMSearchVectorEnv(32, world, split=options.split, autoreset_mode=AutoresetMode.DISABLED, copy=False)
        with tempfile.TemporaryDirectory() as folder:
            summary = evaluate(make_learner(agent, envs), envs, task_ids, agent=agent, out=Path(folder) / agent)
        parts = {"all": summary.overall, **summary.by["needs_search"], **summary.by["category"]}
        rows[agent] = {name: _row(measures) for name, measures in parts.items()}
    table = _table(rows)
    print(table)
    options.out.mkdir(parents=True, exist_ok=True)
    content = {"world": world.name, "world_hash": world.hash, "split": options.split, "agents": rows}
    name = "scripted_agents" if options.split == "test" else f"scripted_agents_{options.split}"
    (options.out / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    head = f"# Scripted agents on {world.name} {options.split}, {len(task_ids)} tasks, world {world.hash[:12]}"
    (options.out / f"{name}.md").write_text(f"{head}\n\n{table}\n")


def _row(measures: Measures) -> dict[str, Any]:
    low, high = measures.accuracy_ci95
    return {
        "episodes": measures.episodes,
        "accuracy": round(100 * measures.accuracy, 1),
        "ci95": [round(100 * low, 1), round(100 * high, 1)],
        "searches": dict(measures.searches),
    }


def _table(rows: dict[str, Any]) -> str:
    lines = [
        "| agent | needs search | needs none | searches where needed | searches where not |",
        "|---|---|---|---|---|",
    ]
    for agent, row in rows.items():
        cells = [f"{row[part]['accuracy']:.1f} ({_interval(row[part]['ci95'])})" for part in ("true", "false")]
        costs = [_searches(row[part]["searches"]) for part in ("true", "false")]
        lines.append(f"| `{agent}` | " + " | ".join([*cells, *costs]) + " |")
    return "\n".join(lines)


def _interval(ci95: list[float]) -> str:
    return f"{ci95[0]:.0f}–{ci95[1]:.0f}"


def _searches(searches: dict[str, float]) -> str:
    named = {"text": "text", "image": "whole", "crop": "region"}
    parts = [f"{searches[kind]:.2f} {name}" for kind, name in named.items() if searches[kind] > 0]
    return " + ".join(parts) or "none"


if __name__ == "__main__":
    main()
