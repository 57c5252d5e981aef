"""Evaluate every scripted agent on the same tasks of atlas, and show the results: `python examples/demo.py`.

Writes to runs/demo/: a folder per agent (summary.json, trajectories.jsonl, images/), accuracy.png, searches.png, and
index.html with the table and ten episodes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gymnasium.vector import AutoresetMode
from rich.console import Console

from mmsearch_agents import AGENTS, make_learner
from mmsearch_agents.cli import measures_cells, measures_table
from mmsearch_agents.evaluate import evaluate, sample_tasks
from mmsearch_env import load_world
from mmsearch_env.report import load_run, plot_accuracy, plot_searches, write_report
from mmsearch_env.vector import MMSearchVectorEnv


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description="Evaluate every scripted agent on the same tasks.")
    parser.add_argument("--world", default="atlas")
    parser.add_argument("--split", default="test")
    parser.add_argument("--episodes", type=int, help="how many tasks; all of the split if left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    options = parser.parse_args()

    console = Console()
    world = load_world(options.world)
    task_ids = sample_tasks(world.tasks(options.split), options.episodes, seed=options.seed)
    tables = {
        "all": measures_table("agent", title=f"{world.name} {options.split}: all tasks"),
        "true": measures_table("agent", title="the tasks that need search"),
        "false": measures_table("agent", title="the tasks that need none"),
    }
    for agent in AGENTS:
        envs = MMSearchVectorEnv(32, world, split=options.split, autoreset_mode=AutoresetMode.DISABLED, copy=False)
        learner = make_learner(agent, envs, seed=options.seed)
        with console.status(f"{agent} plays {len(task_ids)} tasks"):
            summary = evaluate(
                learner, envs, task_ids, agent=agent, out=options.out / agent, existing="replace", seed=options.seed
            )
        for part, measures in {"all": summary.overall, **summary.by["needs_search"]}.items():
            tables[part].add_row(agent, *measures_cells(measures))
    for table in tables.values():
        console.print(table)

    runs = [load_run(options.out / agent) for agent in AGENTS]
    write_report(options.out / "index.html", runs, world=world)
    plot_accuracy([run.summary for run in runs], options.out / "accuracy.png")
    plot_searches([run.summary for run in runs], options.out / "searches.png")
    console.print(f"Open {options.out / 'index.html'} to see episodes.", soft_wrap=True)


if __name__ == "__main__":
    main()
