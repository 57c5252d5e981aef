"""Choosing a few episodes that together show what happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mmsearch_env.report.runs import Run, is_right
from mmsearch_env.trajectory import Trajectory

# What makes a reader's second episode worth reading after the first, and how much.
_WEIGHTS = {"task": 8, "agent": 4, "outcome": 3, "category": 3, "domain": 2, "searches": 1}


def choose_episodes(runs: Sequence[Run], count: int = 10) -> list[tuple[Run, Trajectory]]:
    """Choose episodes of different agents, outcomes, categories and domains; the same runs give the same choice.

    One after the other, the episode is taken whose traits occur least among those taken already.

    Args:
        runs: where to choose from.
        count: how many; all if there are fewer.

    Returns:
        Pairs of run and episode: first those with a right answer, each part by task category, the agents in the order
        of `runs`.
    """
    left = [
        (index, position, _traits(run, trajectory))
        for index, run in enumerate(runs)
        for position, trajectory in enumerate(run.trajectories)
    ]
    seen: Counter[tuple[str, str]] = Counter()
    taken: list[tuple[int, int]] = []
    while left and len(taken) < count:
        costs = [sum(_WEIGHTS[trait[0]] * seen[trait] for trait in traits) for _, _, traits in left]
        index, position, traits = left.pop(costs.index(min(costs)))
        seen.update(traits)
        taken.append((index, position))
    chosen = [(index, runs[index].trajectories[position]) for index, position in taken]
    chosen.sort(key=lambda pair: (not is_right(pair[1]), pair[1].task.category, pair[1].task.id, pair[0]))
    return [(runs[index], trajectory) for index, trajectory in chosen]


def _traits(run: Run, trajectory: Trajectory) -> list[tuple[str, str]]:
    searches = trajectory.searches()
    return [
        ("task", trajectory.task.image),
        ("agent", run.agent),
        ("outcome", f"{trajectory.task.needs_search} {is_right(trajectory)}"),
        ("category", trajectory.task.category),
        ("domain", trajectory.task.domain),
        ("searches", f"{searches['crop'] > 0} {searches['text'] > 1}"),
    ]
