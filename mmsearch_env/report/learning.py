"""What the page shows of a training run: curves, and tasks that are answered otherwise after it than before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmsearch_env.errors import ConfigurationError
from mmsearch_env.report.charts import Chart, chart
from mmsearch_env.report.noise import Rise, rise, sign_test
from mmsearch_env.report.runs import Run, is_right
from mmsearch_env.trajectory import Trajectory

Pair = tuple[Trajectory, Trajectory]
"""Two episodes of the same task: before and after."""


@dataclass(frozen=True, slots=True)
class Training:
    """A training run between two evaluations on the same tasks.

    Attributes:
        rows: the lines of its log (`mmsearch_agents.training_log.read_log`), one per update; each has `reward`.
        before: the evaluation of the policy that training began with.
        after: that of the policy it ended with.
        about: one sentence on how it was trained.
    """

    rows: Sequence[Mapping[str, Any]]
    before: Run
    after: Run
    about: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """The tasks of two evaluations by what became of them: wrong then right, right then wrong, or as before."""

    gained: tuple[Pair, ...]
    lost: tuple[Pair, ...]
    right: tuple[Pair, ...]
    wrong: tuple[Pair, ...]

    @property
    def chance(self) -> float:
        """How probable so uneven a change is if training made no difference."""
        return sign_test(len(self.gained), len(self.lost))


def compare(before: Run, after: Run) -> Changes:
    """Compare two evaluations task by task.

    Raises:
        ConfigurationError: if they are not of the same tasks, or a task was played several times.
    """
    first, second = ({one.task.id: one for one in run.trajectories} for run in (before, after))
    if first.keys() != second.keys() or not len(first) == len(before.trajectories) == len(after.trajectories):
        raise ConfigurationError(
            f"Expected two evaluations of the same tasks, each played once, got {len(before.trajectories)} episodes of "
            f"{before.agent!r} and {len(after.trajectories)} of {after.agent!r}. Evaluate both with the same seed."
        )
    found: dict[tuple[bool, bool], list[Pair]] = {}
    for name, trajectory in first.items():
        pair = (trajectory, second[name])
        found.setdefault((is_right(pair[0]), is_right(pair[1])), []).append(pair)
    cases = ((False, True), (True, False), (True, True), (False, False))
    return Changes(*(tuple(found.get(case, ())) for case in cases))


def choose_changes(changes: Changes, count: int = 6) -> list[Pair]:
    """Choose tasks whose outcome changed; the same changes give the same choice.

    Gains and losses are chosen in the proportion in which there are, but at least one of each; one after the other, the
    pair is taken whose category, domain and moves occur least among those taken already.
    """
    total = len(changes.gained) + len(changes.lost)
    losses = max(round(count * len(changes.lost) / total), 1) if changes.lost else 0
    return [*_varied(changes.gained, count - losses), *_varied(changes.lost, losses)]


def _varied(pairs: Iterable[Pair], count: int) -> list[Pair]:
    left, seen = list(pairs), Counter[object]()
    taken: list[Pair] = []
    while left and len(taken) < count:
        pair = min(left, key=lambda one: sum(seen[trait] for trait in _traits(one)))
        left.remove(pair)
        seen.update(_traits(pair))
        taken.append(pair)
    return taken


def _traits(pair: Pair) -> list[object]:
    moves = tuple(tuple(one.searches().values()) for one in pair)
    return [pair[0].task.category, pair[0].task.domain, ("picture", pair[0].task.image), moves]


def curves(rows: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Draw what the log of a training run tells of reward, divergence and searches.

    Raises:
        ConfigurationError: if there are no updates.
    """
    if not rows:
        raise ConfigurationError("Expected the log of at least one update, got none. Train for longer.")
    note = "A dot is a batch, the line a mean of nine, the band its 95 % interval."
    charts = [chart("Reward of sampled episodes", {"": _values(rows, "reward")}, note=note, from_zero=False, dots=True)]
    if all("kl" in row for row in rows):
        note = "In nats a token, from the policy that training began with."
        charts.append(chart("Divergence", {"": _values(rows, "kl")}, note=note, dots=True))
    kinds = {"text": "searches/text", "whole picture": "searches/image", "region of it": "searches/crop"}
    if all(name in row for row in rows for name in kinds.values()):
        searches = {kind: _values(rows, name) for kind, name in kinds.items()}
        charts.append(chart("Searches per episode", searches, note="By what was searched with."))
    return charts


def reward_rise(rows: Sequence[Mapping[str, Any]]) -> Rise | None:
    """Say how much the reward rose over the updates, and how sure that is."""
    return rise(_values(rows, "reward"))


def _values(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(row[name]) for row in rows]
