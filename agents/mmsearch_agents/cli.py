"""The command `mmsearch eval`, which the `mmsearch` command line finds through the entry points of this package."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from gymnasium.vector import AutoresetMode
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mmsearch_agents import evaluate as evaluation
from mmsearch_agents.metrics import SEARCH_KINDS, Measures
from mmsearch_agents.registry import AGENTS, make_learner
from mmsearch_agents.run_folder import RunFolder
from mmsearch_agents.shipped import POLICIES, trained_for
from mmsearch_env.cli import open_world
from mmsearch_env.cli.progress import progress
from mmsearch_env.errors import ConfigurationError
from mmsearch_env.vector import MMSearchVectorEnv

INTERRUPTED = 130
"""The exit code of a run that was stopped by Ctrl-C, as shells give it."""

_DEFAULTS: Mapping[str, Any] = {
    "world": "atlas",
    "dialect": "deepmmsearch_r1",
    "prompts": "full",
    "max_tokens": 2048,
    "top_k": 5,
    "on_miss": "index",
}
"""Options of the environment where neither the command nor the agent says another."""

_NAMES = ", ".join((*AGENTS, *POLICIES))


def evaluate(
    *,
    agent: Annotated[str, typer.Option(help=f"Name of an agent ({_NAMES}), or path of a saved one.")],
    out: Annotated[Path, typer.Option(help="Folder to write the run to.")],
    world: Annotated[
        str | None, typer.Option(help="Name of a bundled world, or path of a world's folder.", show_default="atlas")
    ] = None,
    split: Annotated[str, typer.Option(help="Which tasks: train, validation, test, ood, or all.")] = "test",
    episodes: Annotated[
        int | None, typer.Option(min=1, help="How many tasks, drawn by the seed.", show_default="all of the split")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Fixes the tasks, their order, and the agent's own chance.")] = 0,
    dialect: Annotated[
        str | None, typer.Option(help="Language that the agent speaks.", show_default="deepmmsearch_r1")
    ] = None,
    prompts: Annotated[
        str | None, typer.Option(help="full, short, or path of a text file.", show_default="full")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=2, help="Longest context in tokens, prompt included.", show_default="2048")
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            min=1, help="Results per search; for a packed world, the --k it was recorded with.", show_default="5"
        ),
    ] = None,
    on_miss: Annotated[
        str | None,
        typer.Option(
            help="What a search that nobody recorded gives: error, empty, or index (the world's own).",
            show_default="index",
        ),
    ] = None,
    num_envs: Annotated[int, typer.Option(min=1, help="How many episodes are played side by side.")] = 32,
    resume: Annotated[bool, typer.Option("--resume", help="Play only what the run in --out lacks.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove an earlier run in --out first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json and nothing else.")] = False,
) -> None:
    """Play tasks with an agent and measure how well it does.

    Writes to --out: summary.json (accuracy with its 95 % interval, em, f1, searches and format rate, also by
    needs_search, category and domain), trajectories.jsonl with every episode, and the pictures. A run that was stopped
    with Ctrl-C goes on with --resume.

    A policy is played in the environment that it was trained for, as far as that is known and the options do not say
    otherwise.
    """
    if resume and overwrite:
        raise ConfigurationError("Expected one of --resume and --overwrite, got both.")
    asked: dict[str, Any] = {"world": world, "dialect": dialect, "prompts": prompts}
    asked |= {"max_tokens": max_tokens, "top_k": top_k, "on_miss": on_miss}
    given = {name: value for name, value in asked.items() if value is not None}
    trained = trained_for(agent)
    settings = {**_DEFAULTS, **trained, **given}
    taken = [f"{_flag(name)} {trained[name]}" for name in _DEFAULTS if name in trained and name not in given]
    if taken and not as_json:
        typer.echo(f"{agent} plays as it was trained: {' '.join(taken)}")
    envs = MMSearchVectorEnv(
        num_envs=num_envs,
        split=None if split == "all" else split,
        autoreset_mode=AutoresetMode.DISABLED,
        on_fault="truncate",
        **{**settings, "world": open_world(settings["world"])},
    )
    task_ids = evaluation.sample_tasks(envs.stage.tasks, episodes, seed=seed)
    learner = make_learner(agent, envs, seed=seed)
    options = {"agent": agent, "world": settings["world"], "split": split, "episodes": len(task_ids), "seed": seed}
    options |= {name: settings[name] for name in _DEFAULTS if name != "world"}
    options |= {"num_envs": num_envs}
    try:
        with progress(agent) as on_episode:
            summary = evaluation.evaluate(
                learner,
                envs,
                task_ids,
                agent=agent,
                out=out,
                existing="resume" if resume else "replace" if overwrite else "error",
                seed=seed,
                command=_command(options),
                on_episode=on_episode,
            )
    except KeyboardInterrupt:
        kept = f"What was played is kept in {out}; the same command with --resume goes on."
        typer.echo(f"Stopped. {kept if RunFolder(out).begun else 'Nothing was played yet.'}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        envs.close()
    if as_json:
        typer.echo(json.dumps(summary.to_row(), indent=2, ensure_ascii=False))
    else:
        print_summary(summary, Console())
        typer.echo(f"Written to {out}")


def print_summary(summary: evaluation.Summary, console: Console) -> None:
    """Print a summary as a table: a row for all episodes, then one for each part of them."""
    table = measures_table("", title=f"{summary.agent} on {summary.world} {summary.split or 'all'}")
    table.add_row("all", *measures_cells(summary.overall), style="bold")
    for name, part in summary.by.items():
        table.add_row(name, style="dim")
        for value, measures in part.items():
            table.add_row(f"  {value}", *measures_cells(measures))
    console.print(table)
    if summary.faults:
        console.print(f"The world failed in {summary.faults} more episodes; they are not counted.", style="yellow")


def measures_table(label: str, *, title: str | None = None) -> Table:
    """Return an empty table whose first column is `label` and whose others are those of `measures_cells`."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(label, no_wrap=True)
    for name in ("n", "accuracy", "95 %", "em", "f1", "text", "image", "crop", "format"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def measures_cells(measures: Measures) -> list[str]:
    """Write measures as the cells of `measures_table`: shares in per cent, searches per episode."""
    low, high = measures.accuracy_ci95
    return [
        str(measures.episodes),
        f"{100 * measures.accuracy:.1f}",
        f"{100 * low:.0f}–{100 * high:.0f}",
        f"{100 * measures.em:.1f}",
        f"{100 * measures.f1:.1f}",
        *(f"{measures.searches[kind]:.2f}" for kind in SEARCH_KINDS),
        f"{100 * measures.format_rate:.0f}",
    ]


def _command(options: dict[str, object]) -> str:
    """Return a command that gives these results again, in the folder `again`, wherever this run is written."""
    words = [word for name, value in {**options, "out": "again"}.items() for word in (_flag(name), str(value))]
    return shlex.join(["mmsearch", "eval", *words])


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
