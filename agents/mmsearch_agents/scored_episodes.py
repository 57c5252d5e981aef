"""Episodes as a model scores them: their samples, in microbatches of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mmsearch_agents.policy import PictureSource, QwenPolicy, Sample, by_length
from mmsearch_agents.processes import Processes
from mmsearch_env.errors import ConfigurationError
from mmsearch_env.trajectory import Trajectory


def samples_of(trajectories: Sequence[Trajectory], pictures: PictureSource | None) -> list[Sample]:
    """Return what the policy wrote in each episode.

    Raises:
        ConfigurationError: if nobody said where the pictures are.
    """
    if pictures is None:
        raise ConfigurationError(
            "Expected a way to the pictures of the episodes, got none: a loaded learner does not know its world. "
            "Set learner.pictures = pictures_of(envs.stage) before it learns."
        )
    return [Sample.of(trajectory, pictures) for trajectory in trajectories]


def microbatches(samples: Sequence[Sample], policy: QwenPolicy, cells: int) -> Iterator[list[int]]:
    """Split samples into microbatches of like length: yields the indices of each.

    Samples of which nothing is to be scored are left out.

    Args:
        samples: of any lengths.
        policy: whose model will score them.
        cells: rows times the longest row.
    """
    wanted = [index for index, sample in enumerate(samples) if sample.loss_mask.any()]
    shown = {id(pixels): pixels for index in wanted for pixels in samples[index].pictures}
    image_tokens = max((policy.inputs.patches(pixels).tokens for pixels in shown.values()), default=0)
    for batch in by_length([samples[index] for index in wanted], cells, image_tokens):
        yield [wanted[index] for index in batch]


def idle_sample(policy: QwenPolicy) -> Sample:
    """Return a short sample with a picture, for a pass that all of a model takes part in and that teaches nothing."""
    ids = np.array([*policy.codec.prompt_ids(None, "", ""), policy.codec.end_of_turn_id])
    return Sample(ids, np.arange(len(ids)) == len(ids) - 1, [np.zeros((56, 56, 3), np.uint8)])


def of_all(trajectories: Sequence[Trajectory], processes: Processes) -> tuple[list[Trajectory], slice]:
    """Return the episodes of all processes, and where among them those of this process are.

    The others' tell of their turns and rewards as they were, and of their ids only how many there are.
    """
    if processes.count == 1:
        return list(trajectories), slice(0, len(trajectories))
    told = processes.gather([_brief(trajectory) for trajectory in trajectories])
    start = sum(len(rows) for rows in told[: processes.rank])
    everyone = [_rebuilt(row) for rows in told for row in rows]
    own = slice(start, start + len(trajectories))
    everyone[own] = trajectories
    return everyone, own


def batch_metrics(trajectories: Sequence[Trajectory], processes: Processes) -> dict[str, float]:
    """Return `reward` (mean) and `episodes` of a batch that processes share; one alone need not be told."""
    if processes.count == 1:
        return {}
    rewards = [reward for part in processes.gather([one.reward for one in trajectories]) for reward in part]
    return {"reward": float(np.mean(rewards)), "episodes": float(len(rewards))}


def _brief(trajectory: Trajectory) -> dict[str, Any]:
    none, mask = trajectory.token_ids[:0], trajectory.loss_mask
    turns = tuple(replace(turn, text="", start=0, end=0) for turn in trajectory.turns)
    bare = replace(
        trajectory, token_ids=none, loss_mask=mask[:0], logprobs=None, prompt_length=0, turns=turns, settings={}
    )
    return {"row": bare.to_row(telemetry=False), "ids": len(trajectory), "learned": int(mask.sum())}


def _rebuilt(told: dict[str, Any]) -> Trajectory:
    mask = (np.arange(told["ids"]) < told["learned"]).astype(np.int8)
    return replace(Trajectory.from_row(told["row"]), token_ids=np.zeros(told["ids"], np.int32), loss_mask=mask)
