"""The report: one HTML file that needs nothing else, neither a server nor a script."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmsearch_env.codec import Codec, load_codec
from mmsearch_env.errors import ConfigurationError, WorldError, missing_extra
from mmsearch_env.records import Document
from mmsearch_env.report.cards import Card, make_card
from mmsearch_env.report.charts import HEIGHT, WIDTH
from mmsearch_env.report.choosing import choose_episodes
from mmsearch_env.report.learning import Training, choose_changes, compare, curves, reward_rise
from mmsearch_env.report.runs import Run
from mmsearch_env.trajectory import Trajectory
from mmsearch_env.worlds import World, load_world

_TEMPLATES = Path(__file__).with_name("templates")


def write_report(
    path: str | os.PathLike[str],
    runs: Sequence[Run],
    *,
    world: World | None = None,
    episodes: int | Sequence[tuple[Run, Trajectory]] = 10,
    training: Training | None = None,
    title: str | None = None,
) -> None:
    """Write runs as a page: a table of agents, and episodes with pictures, boxes, turns and tokens.

    With a training run, also its curves, and episodes of the same tasks before and after.

    Args:
        path: the file to write; it is replaced if it exists.
        runs: the runs, one per agent, in the order of the table.
        world: the world that was played, for the titles of pages; by default the bundled one of the same name and hash.
        episodes: how many to choose (see `choose_episodes`), or the episodes to show.
        training: a training run to show; its evaluations are rows of the table where they are among `runs`.
        title: the heading.

    Raises:
        ConfigurationError: if there are no runs, they are of different worlds or splits, or the evaluations before and
            after training are not of the same tasks.
        MissingExtraError: if jinja2 is not installed.
        TrajectoryError: if a picture is missing or damaged.
    """
    if not runs:
        raise ConfigurationError("Expected at least one run to report, got none. Write one with `mmsearch eval`.")
    played = [*runs, *([] if training is None else [training.before, training.after])]
    for key in ("world_hash", "split"):
        values = {str(run.summary.get(key)) for run in played}
        if len(values) > 1:
            raise ConfigurationError(
                f"Expected runs that can be compared, got different values of {key}: {', '.join(sorted(values))}. "
                "Write one report for each."
            )
    chosen = choose_episodes(runs, episodes) if isinstance(episodes, int) else episodes
    summary = runs[0].summary
    documents = _documents(summary, world)
    codecs: dict[str, Codec | None] = {}

    def card(run: Run, trajectory: Trajectory) -> Card:
        name = str(trajectory.settings.get("tokenizer"))
        if name not in codecs:
            codecs[name] = _codec(name, trajectory.settings)
        return make_card(run, trajectory, documents, codecs[name])

    html = _render(
        title=title or f"Agents on {summary['world']} {summary.get('split') or ''}".strip(),
        summary=summary,
        summaries=[run.summary for run in runs],
        settings=_differing(runs),
        cards=[card(run, trajectory) for run, trajectory in chosen],
        learning=None if training is None else _learning(training, card),
    )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.write_text(html, "utf-8")
    partial.replace(target)


def _learning(training: Training, card: Callable[[Run, Trajectory], Card]) -> dict[str, Any]:
    """Gather what the section on learning shows."""
    changes = compare(training.before, training.after)
    return {
        "about": training.about,
        "before": training.before.agent,
        "after": training.after.agent,
        "updates": len(training.rows),
        "seconds": sum(float(row.get("seconds", 0.0)) for row in training.rows),
        "rise": reward_rise(training.rows),
        "charts": curves(training.rows),
        "changes": changes,
        "pairs": [(card(training.before, one), card(training.after, other)) for one, other in choose_changes(changes)],
    }


def _differing(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Return what is not the same for all runs: the agents that share it, and the options."""
    settings = [dict(run.summary.get("settings", {})) for run in runs]
    names = sorted({name for one in settings for name in one} - {"tokenizer_fingerprint"})
    varied = [name for name in names if len({str(one.get(name)) for one in settings}) > 1]
    agents: dict[str, list[str]] = {}
    for run, one in zip(runs, settings, strict=True):
        agents.setdefault(", ".join(f"{name} {one.get(name)}" for name in varied), []).append(run.agent)
    return [(", ".join(named), options) for options, named in agents.items()] if varied else []


def _documents(summary: Mapping[str, Any], world: World | None) -> Mapping[str, Document]:
    if world is None:
        try:
            world = load_world(str(summary["world"]))
        except WorldError:
            return {}
        return world.documents if world.hash == summary["world_hash"] else {}
    if world.hash != summary["world_hash"]:
        raise ConfigurationError(
            f"Expected the world that was played, {summary['world_hash'][:12]}…, got {world.name!r} of the hash "
            f"{world.hash[:12]}…. Pass the one that the runs name."
        )
    return world.documents


def _codec(name: str, settings: Mapping[str, Any]) -> Codec | None:
    try:
        codec = load_codec(name)
    except (ConfigurationError, OSError):
        return None
    return codec if codec.fingerprint == settings.get("tokenizer_fingerprint") else None


def _render(**values: Any) -> str:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise missing_extra("jinja2", "report") from error
    # Everything that agents and pages wrote is data: autoescape holds for the whole template.
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}"
    return environment.get_template("report.html").render(width=WIDTH, height=HEIGHT, **values)
