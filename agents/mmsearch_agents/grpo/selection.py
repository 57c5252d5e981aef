"""What GRPO learns from: which episodes, which of their tokens, and with what advantage.

Letters: B episodes, L tokens of the longest; A episodes of all processes together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch_agents.advantages import Floats, group_advantages, has_spread
from mmsearch_agents.grpo.options import GrpoOptions
from mmsearch_agents.metrics import is_fault
from mmsearch_agents.policy import PictureSource, Sample
from mmsearch_agents.scored_episodes import samples_of
from mmsearch_env.errors import ConfigurationError
from mmsearch_env.trajectory import Trajectory


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The episodes of a batch that count.

    Attributes:
        trajectories: B of them.
        samples: of each, what there is to learn: `loss_mask` is true there.
        fatal: bool (B,), true where the policy gave in to refusals.
        rewards: of the episodes of all processes that count, float64 (A,).
        scored: likewise, bool (A,), false where the world failed.
        groups: likewise, labels (A,): the task's id.
        own: where among them the B are.
        dead_groups: the share of all groups whose rewards do not differ.
        dropped_groups: how many groups were left out for that.
    """

    trajectories: Sequence[Trajectory]
    samples: Sequence[Sample]
    fatal: npt.NDArray[np.bool_]
    rewards: Floats
    scored: npt.NDArray[np.bool_]
    groups: npt.NDArray[Any]
    own: slice
    dead_groups: float
    dropped_groups: int

    def advantages(self, options: GrpoOptions, penalties: Floats | None = None) -> Floats:
        """Return the advantage of each episode, (B,).

        Args:
            options: which kind.
            penalties: taken from the rewards first, (A,).
        """
        rewards = self.rewards if penalties is None else self.rewards - penalties
        advantages = group_advantages(
            rewards, self.groups, kind=options.advantage, epsilon=options.advantage_epsilon, scored=self.scored
        )[self.own]
        return np.where(self.fatal, np.maximum(advantages, 0.0), advantages)


def select(
    trajectories: Sequence[Trajectory],
    options: GrpoOptions,
    pictures: PictureSource | None,
    own: slice = slice(None),
) -> Selection:
    """Choose what to learn from.

    Args:
        trajectories: groups of the same task, in any order.
        options: what to leave out.
        pictures: gives the pictures of an episode.
        own: which of them are this process's.

    Raises:
        ConfigurationError: if the pictures are not at hand, or there are no episodes.
    """
    if not trajectories:
        raise ConfigurationError("Expected at least one episode to learn from, got none.")
    labels = np.array([trajectory.task.id for trajectory in trajectories])
    rewards = np.array([trajectory.reward for trajectory in trajectories], np.float64)
    scored = np.array([not (options.mask_faults and is_fault(trajectory)) for trajectory in trajectories])
    lively = np.zeros(len(labels), np.bool_)
    lively[scored] = has_spread(rewards[scored], labels[scored])
    groups, dead = len(np.unique(labels)), len(np.setdiff1d(labels, labels[lively]))
    kept = np.flatnonzero(np.isin(labels, labels[lively])) if options.dynamic_sampling else np.arange(len(labels))
    start, stop, _ = own.indices(len(trajectories))
    among = slice(*np.searchsorted(kept, (start, stop)).tolist())
    chosen = [trajectories[index] for index in kept[among].tolist()]
    samples, fatal = [], np.zeros(len(chosen), np.bool_)
    for row, sample in enumerate(samples_of(chosen, pictures)):
        mask = np.asarray(sample.loss_mask).astype(np.bool_)
        end = fatal_end(chosen[row], options.fatal_tool_errors)
        if end is not None:
            fatal[row], mask[end:] = True, False
        if not scored[kept[among.start + row]] or (options.mask_truncated and chosen[row].truncated):
            mask[:] = False
        samples.append(replace(sample, loss_mask=mask))
    return Selection(
        chosen,
        samples,
        fatal,
        rewards[kept],
        scored[kept],
        labels[kept],
        among,
        dead / groups,
        dead if options.dynamic_sampling else 0,
    )


def fatal_end(trajectory: Trajectory, errors: int | None) -> int | None:
    """Return where the turn ended that was the last of `errors` refused ones in a row, or None if there is none.

    A turn is refused if it is malformed or its tool call is answered with an error; the world's faults do not count.
    """
    row = 0
    for turn in trajectory.turns:
        refused = turn.error is not None and not turn.error.startswith("fault:")
        row = row + 1 if refused else 0
        if row == errors:
            return turn.end
    return None
