"""Group relative policy optimization (Shao et al., 2024, arXiv 2402.03300) of a Qwen policy."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from mmsearch_agents.episode_metrics import episode_metrics
from mmsearch_agents.grpo.objective import Targets, objective, weights_of
from mmsearch_agents.grpo.options import GrpoOptions
from mmsearch_agents.grpo.reference import StartingPoint
from mmsearch_agents.grpo.selection import Selection, select
from mmsearch_agents.learner import Decision, Observations
from mmsearch_agents.losses import kl_terms
from mmsearch_agents.optimization import Optimizer
from mmsearch_agents.policy import PictureSource, QwenPolicy, Sample
from mmsearch_agents.policy.scoring import Scores
from mmsearch_agents.processes import ALONE, Processes
from mmsearch_agents.scored_episodes import batch_metrics, idle_sample, microbatches, of_all
from mmsearch_agents.training_state import extra, freeze_again, read_state, restore, write_learner
from mmsearch_env.codec import Codec
from mmsearch_env.errors import ConfigurationError
from mmsearch_env.trajectory import Trajectory

FILE = "grpo.json"


class GRPOLearner:
    """Acts with a policy, and trains it on groups of its own episodes of the same task.

    Attributes:
        policy: what acts and is trained.
        options: how.
        pictures: gives the pictures of an episode; a loaded learner needs it set before it learns.
        batches: how many it was given: its place in a source.
    """

    def __init__(
        self,
        policy: QwenPolicy,
        options: GrpoOptions | None = None,
        *,
        pictures: PictureSource | None = None,
        seed: int = 0,
        start: StartingPoint | None = None,
        processes: Processes = ALONE,
    ) -> None:
        """Train `policy`.

        Args:
            policy: its model's trainable weights are trained.
            options: None takes the defaults.
            pictures: gives the pictures of an episode, e.g. `pictures_of(envs.stage)`.
            seed: of minibatches and dropout.
            start: the reference of `reference="start"`; None takes the policy as it is now.
            processes: that train it together, each on its part of every batch.

        Raises:
            ConfigurationError: if nothing is trainable, or the schedule does not know its end.
        """
        self.policy = policy
        self.options = GrpoOptions() if options is None else options
        self.pictures = pictures
        self.batches = 0
        self._seed = seed
        self._processes = processes
        self._optimizer = Optimizer(policy.model, self.options.optimizer, seed=seed, processes=processes)
        self._scorer = policy.scorer()
        self._trained = processes.prepare(self._scorer, self._optimizer)
        if processes.rank:
            policy.generator.manual_seed(processes.seed(policy.generator.initial_seed()))
        keeps = self.options.kl_coef > 0 and self.options.reference == "start"
        self._start = (start or StartingPoint(policy.model)) if keeps else None

    def act(self, observations: Observations, *, deterministic: bool = False) -> Decision:
        """Choose the next id of every row."""
        return self.policy.act(observations, deterministic=deterministic)

    def learn(self, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """Learn from groups of episodes; those of the same task are a group.

        Returns:
            What `episode_metrics` tells of the episodes, `dead_groups` (share), `dropped_groups`, `steps` (of the
            optimizer), and if there were any their means: `loss`, `policy_loss`, `entropy`, `clip_fraction`,
            `kl_sampled` (k3 from the policy that sampled), `kl` (to the reference, if there is one), `gradient_norm`,
            `learning_rate`. Several processes say the same, of all their episodes, and `reward` and `episodes`.

        Raises:
            ConfigurationError: if the pictures are not at hand, or the episodes lack log-probabilities.
            FloatingPointError: if the gradients are not finite.
        """
        everyone, own = of_all(trajectories, self._processes)
        selection = select(everyone, self.options, self.pictures, own)
        metrics = episode_metrics(everyone)
        metrics |= batch_metrics(trajectories, self._processes)
        metrics |= {"dead_groups": selection.dead_groups, "dropped_groups": float(selection.dropped_groups)}
        steps: dict[str, list[float]] = defaultdict(list)
        if any(self._processes.gather(any(bool(sample.loss_mask.any()) for sample in selection.samples))):
            targets = self._targets(selection)
            first, end = selection.own.start, selection.own.stop
            for rows in self._minibatches(len(selection.rewards)):
                part = targets.part([row - first for row in rows if first <= row < end])
                for name, value in self._update(part, len(rows)).items():
                    steps[name].append(value)
        self.policy.forget()
        self.batches += 1
        metrics["steps"] = float(len(steps["loss"]))
        return metrics | {name: float(np.mean(values)) for name, values in steps.items() if values}

    def _minibatches(self, episodes: int) -> Iterator[list[int]]:
        for epoch in range(self.options.epochs):
            order = np.arange(episodes)
            if self.options.minibatches > 1:
                order = np.random.default_rng((self._seed, self.batches, epoch)).permutation(episodes)
            parts = np.array_split(order, self.options.minibatches)
            yield from (part.tolist() for part in parts if len(part))

    def _targets(self, selection: Selection) -> Targets:
        """Score the episodes as far as it is needed before the first step."""
        options, samples = self.options, selection.samples
        width = max((len(sample.token_ids) for sample in samples), default=0)
        mask = torch.zeros(len(samples), width, dtype=torch.float64)
        for row, sample in enumerate(samples):
            mask[row, : len(sample.token_ids)] = torch.from_numpy(np.asarray(sample.loss_mask, np.float64))
        sampled = self._sampled(selection.trajectories, mask)
        old, reference, penalties = sampled, None, None
        if options.old_logprobs == "recomputed":
            # With one step in all, the policy before the first step is the one that is trained.
            several = options.epochs * options.minibatches > 1
            old = self._scored(samples, mask) if several or options.kl_place == "reward" else None
        if options.kl_coef:
            with self._reference():
                reference = self._scored(samples, mask)
        if options.kl_place == "reward" and reference is not None and old is not None:
            divergence = kl_terms(old, reference, estimator=options.kl_estimator) * mask
            own: list[float] = (options.kl_coef * divergence.sum(1)).tolist()
            penalties = np.concatenate(self._processes.gather(own))
        advantages = torch.from_numpy(selection.advantages(options, penalties))
        return Targets(samples, mask, advantages, sampled, old, reference)

    def _sampled(self, trajectories: Sequence[Trajectory], mask: Tensor) -> Tensor | None:
        found = torch.zeros_like(mask)
        for row, trajectory in enumerate(trajectories):
            if trajectory.logprobs is None:
                if self.options.old_logprobs == "recomputed" and self.options.engine_correction is None:
                    return None
                raise ConfigurationError(
                    f"Expected episodes with the log-probabilities of what was sampled, got one on "
                    f"{trajectory.task.id!r} without. Play them with a policy, or set old_logprobs='recomputed'."
                )
            found[row, : len(trajectory.logprobs)] = torch.from_numpy(trajectory.logprobs)
        return found * mask

    def _reference(self) -> AbstractContextManager[None]:
        return self.policy.reference() if self._start is None else self._start.active()

    def _score(self, scorer: nn.Module, samples: Sequence[Sample]) -> Scores:
        batch = self.policy.collate(samples)
        scores: Scores = scorer(batch, temperature=self.policy.sampling.temperature, masked=True)
        return scores

    @torch.no_grad()
    def _scored(self, samples: Sequence[Sample], mask: Tensor) -> Tensor:
        """Return the log-probabilities of all samples, (B, L), without gradient."""
        self.policy.model.eval()
        found: Tensor | None = None
        for rows in microbatches(samples, self.policy, self.options.cells_per_pass):
            logprobs = self._score(self._scorer, [samples[row] for row in rows]).logprobs.cpu()
            found = torch.zeros(mask.shape, dtype=logprobs.dtype) if found is None else found
            found[torch.tensor(rows), : logprobs.shape[1]] = logprobs
        return torch.zeros_like(mask) if found is None else found

    def _update(self, targets: Targets, episodes: int) -> dict[str, float]:
        """Make one step of the optimizer; a minibatch without anything to learn makes none.

        Args:
            targets: of this process's part of the minibatch.
            episodes: how many the whole one has.
        """
        options, processes = self.options, self._processes
        tokens = sum(processes.gather(float(targets.mask.sum())))
        if not tokens:
            return {}
        weights = weights_of(targets.mask, options, tokens=tokens, episodes=episodes)
        sums: dict[str, float] = defaultdict(float)

        def loss_of(rows: list[int]) -> Tensor:
            scores = self._score(self._trained, [targets.samples[row] for row in rows])
            width = scores.logprobs.shape[1]
            loss, figures = objective(scores, targets.part(rows, width), weights[rows, :width], options)
            for name, value in figures.items():
                sums[name] += float(value) if name.endswith("loss") else float(value) / tokens
            return loss

        def idle() -> Tensor:
            return self._score(self._trained, [idle_sample(self.policy)]).logprobs.sum() * 0.0

        self._trained.train()
        with self._optimizer.randomness():
            parts = list(microbatches(targets.samples, self.policy, options.cells_per_pass))
            processes.accumulate(self._trained, parts, loss_of, idle)
        figures = processes.total(sums)
        return {**figures, **self._optimizer.step(figures["loss"])}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the policy, its reference, the optimizer and the random numbers to a folder, whole or not at all."""
        state = {"options": asdict(self.options), "seed": self._seed, "batches": self.batches}
        start = {} if self._start is None else self._start.tensors()
        write_learner(path, FILE, self.policy, self._optimizer, state, start, processes=self._processes)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        pictures: PictureSource | None = None,
        codec: Codec | None = None,
        processes: Processes = ALONE,
        **placing: Any,
    ) -> Self:
        """Read back what `save` wrote; training goes on as if it had not stopped.

        Args:
            path: the folder.
            pictures: gives the pictures of an episode; needed to learn.
            codec: of the environment's tokenizer; None loads the one that the weights were trained with.
            processes: that go on; if they are not as many as before, they sample other episodes.
            **placing: `dtype`, `device` and `device_map`, as for `QwenPolicy.load`.

        Raises:
            ConfigurationError: if the folder holds no such learner.
        """
        row, tensors = read_state(path, FILE)
        policy = QwenPolicy.load(path, codec=codec, **placing)
        freeze_again(policy, row)
        start = StartingPoint(policy.model, extra(tensors)) if extra(tensors) else None
        options = GrpoOptions.from_row(row["options"])
        learner = cls(policy, options, pictures=pictures, seed=row["seed"], start=start, processes=processes)
        restore(policy, learner._optimizer, row, tensors, processes)
        learner.batches = row["batches"]
        return learner
