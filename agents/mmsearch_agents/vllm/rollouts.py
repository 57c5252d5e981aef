"""Episodes played turn by turn at a server, many at a time, and new weights for it between batches.

In a loop over `act` all rows step together: while one of them waits for its next turn, the others wait as well. Here
every episode goes its own way, so that the server always has as many turns to write as there are episodes in flight.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch_agents.learner import Learner
from mmsearch_agents.sources import check_sizes, drawn
from mmsearch_agents.vllm.policy import VLLMPolicy
from mmsearch_env.deadline import side_by_side
from mmsearch_env.errors import ConfigurationError
from mmsearch_env.stage import Stage
from mmsearch_env.trajectory import Trajectory

if TYPE_CHECKING:
    from mmsearch_agents.policy import QwenPolicy


def play_turns(
    policy: VLLMPolicy, stage: Stage, task_ids: Sequence[str], *, deterministic: bool = False, first: int = 0
) -> list[Trajectory]:
    """Play every task once, `policy.in_flight` episodes at a time.

    Args:
        policy: who speaks.
        stage: of the environments, e.g. `envs.stage`.
        task_ids: the tasks; an id may occur several times.
        deterministic: take the likeliest ids.
        first: the number of the first episode. The seed of a turn follows from the policy's, the number of its episode
            and its place in the stream, whatever else is in flight.

    Returns:
        The trajectories, with log-probabilities, in the order of `task_ids`.

    Raises:
        ConfigurationError: if a task is not in the split, or the server serves something else.
        BackendError: if the server or a tool fails; the other episodes end with the turns that they have begun.
    """
    policy.server.check()
    lock = threading.Lock()
    failed: list[BaseException] = []

    def work(number: int, task_id: str) -> Trajectory:
        try:
            return _play(policy, stage, task_id, None if deterministic else number, lock, failed)
        except BaseException as error:
            failed.append(error)
            raise

    works = [partial(work, number, task_id) for number, task_id in enumerate(task_ids, start=first)]
    return side_by_side(works, at_most=policy.in_flight)


def _play(
    policy: VLLMPolicy,
    stage: Stage,
    task_id: str,
    number: int | None,
    lock: threading.Lock,
    failed: Sequence[BaseException],
) -> Trajectory:
    """Play one episode, unless another one has failed.

    Args:
        policy: who speaks.
        stage: of the environments.
        task_id: the task.
        number: of the episode, for its seeds; None for the likeliest ids.
        lock: guards what is quick and made for one thread.
        failed: what other episodes raised.
    """
    with lock:
        task = stage.choose(np.random.default_rng(0), task_id)
        episode, view = stage.begin(task), stage.view(task)
    logprobs: list[float] = []
    while not episode.over:
        if failed:
            raise failed[0]
        length = int(episode.context.length[0])
        seed = None
        if number is not None:
            seed = int(np.random.default_rng((policy.seed, number, length)).integers(2**53))
        turn = policy.turn(episode.context.tokens[:length], view, room=stage.rules.max_tokens - length, seed=seed)
        with lock if stage.live is None else nullcontext():  # what asks the web is slow, and made for many threads
            for token_id in turn.token_ids:
                episode.append(token_id)
        logprobs += turn.logprobs
    return episode.trajectory().with_logprobs(logprobs)


@dataclass(frozen=True, kw_only=True)
class ServedRollouts:
    """A source of groups of episodes that a server's policy plays, whoever learns from them.

    Attributes:
        policy: who plays. For GRPO its temperature must be that of the policy that is trained.
        stage: of the environments, e.g. `envs.stage`; no vector environment is needed.
        group_size: episodes per task.
        tasks_per_batch: tasks per batch; a batch holds `tasks_per_batch * group_size` trajectories, group by group.
        seed: of the order of tasks, which is that of `Rollouts` with the same seed.
        deterministic: whether the likeliest ids are taken.
        skip: how many batches to leave out at the beginning, unplayed, to go on where training stopped.
        before: called with each batch's number before it is played, e.g. `sends_adapters(…)`.
    """

    policy: VLLMPolicy
    stage: Stage
    group_size: int = 8
    tasks_per_batch: int = 8
    seed: int = 0
    deterministic: bool = False
    skip: int = 0
    before: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        """Refuse empty batches.

        Raises:
            ConfigurationError: if a size is not positive.
        """
        check_sizes(group_size=self.group_size, tasks_per_batch=self.tasks_per_batch)

    def batches(self, learner: Learner) -> Iterator[list[Trajectory]]:
        """Yield batches of fresh trajectories for ever; `learner` does not play."""
        size = self.group_size * self.tasks_per_batch
        batches = drawn(self.stage.tasks, size=self.tasks_per_batch, seed=self.seed)
        for number, task_ids in enumerate(islice(batches, self.skip, None), start=self.skip):
            if self.before is not None:
                self.before(number)
            repeated = [task_id for task_id in task_ids for _ in range(self.group_size)]
            yield play_turns(self.policy, self.stage, repeated, deterministic=self.deterministic, first=number * size)


def sends_adapters(
    trained: QwenPolicy, served: VLLMPolicy, folder: str | os.PathLike[str], *, name: str = "mmsearch"
) -> Callable[[int], None]:
    """Return a function for `ServedRollouts.before` that hands a server the adapters as they are now.

    They are written to `folder` as peft saves them, each time to a folder of its own; the last two are kept.

    Args:
        trained: with adapters; it samples at the temperature of `served`.
        served: who acts.
        folder: on this machine or one whose files the server sees.
        name: what the server calls them.

    Raises:
        ConfigurationError: if `trained` has no adapters, or another temperature. Other weights vLLM takes only by a
            restart, or from a program that shares its process group.
    """
    from peft import PeftModel

    model = trained.model
    if not isinstance(model, PeftModel):
        raise ConfigurationError(
            "Expected a policy with adapters, got one without. Use LoRA, or restart the server with the new weights."
        )
    if trained.sampling.temperature != served.temperature:
        raise ConfigurationError(
            f"Expected the temperature {trained.sampling.temperature:g} of the policy that is trained, got "
            f"{served.temperature:g}. Log-probabilities of two temperatures cannot be compared."
        )
    written: list[Path] = []

    def send(number: int) -> None:
        # Random, so that no server takes it for what it has read from the same path before.
        target = Path(folder) / f"{number:06d}-{os.urandom(4).hex()}"
        model.save_pretrained(str(target))
        served.load_adapter(target, name=name)
        written.append(target)
        while len(written) > 2:
            shutil.rmtree(written.pop(0), ignore_errors=True)

    return send
