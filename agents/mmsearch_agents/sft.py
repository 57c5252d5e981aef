"""Supervised fine-tuning: learning to write what stands in recorded episodes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from mmsearch_agents.learner import Decision, Observations
from mmsearch_agents.optimization import Optimizer, OptimizerOptions
from mmsearch_agents.policy import PictureSource, QwenPolicy, Sample
from mmsearch_agents.processes import ALONE, Processes
from mmsearch_agents.scored_episodes import batch_metrics, idle_sample, microbatches, samples_of
from mmsearch_agents.training_state import freeze_again, read_state, restore, write_learner
from mmsearch_env.codec import Codec
from mmsearch_env.errors import ConfigurationError, unknown
from mmsearch_env.trajectory import Trajectory

FILE = "sft.json"
TokenChoice = Literal["policy", "all"]
TOKEN_CHOICES: tuple[TokenChoice, ...] = ("policy", "all")


@dataclass(frozen=True, kw_only=True)
class SftOptions:
    """How to imitate.

    Attributes:
        optimizer: AdamW and the learning rate; 1e-4 with LoRA in DeepMMSearch-R1 (arXiv 2510.12801, section 4.1).
        tokens: `policy` has the loss on what the policy wrote, and neither on prompts nor on what tools answered
            (section 3.1: retrieved information is "masked during loss computation"); `all` on every id but pictures',
            for a model that cannot read yet.
        cells_per_pass: rows times the longest row of a microbatch; it changes memory and speed, not the update.
    """

    optimizer: OptimizerOptions = field(default_factory=lambda: OptimizerOptions(learning_rate=1e-4))
    tokens: TokenChoice = "policy"
    cells_per_pass: int = 16_384

    def __post_init__(self) -> None:
        """Refuse what does not exist.

        Raises:
            ConfigurationError: if `tokens` has no meaning.
        """
        if self.tokens not in TOKEN_CHOICES:
            raise ConfigurationError(unknown("tokens", self.tokens, TOKEN_CHOICES))

    def lasting(self, steps: int) -> Self:
        """Return the same options with a schedule of so many steps."""
        return replace(self, optimizer=self.optimizer.lasting(steps))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read back what `dataclasses.asdict` gave."""
        return cls(**{**row, "optimizer": OptimizerOptions.from_row(row["optimizer"])})


class SFTLearner:
    """Acts with a policy, and trains it to write what the policies of recorded episodes wrote.

    Attributes:
        policy: what acts and is trained.
        options: how.
        pictures: gives the pictures of an episode; a loaded learner needs it set before it learns.
        batches: how many it has learned from: its place in a source.
    """

    def __init__(
        self,
        policy: QwenPolicy,
        options: SftOptions | None = None,
        *,
        pictures: PictureSource | None = None,
        seed: int = 0,
        processes: Processes = ALONE,
    ) -> None:
        """Train `policy`.

        Args:
            policy: its model's trainable weights are trained.
            options: None takes the defaults.
            pictures: gives the pictures of an episode, e.g. `pictures_of(envs.stage)`.
            seed: of dropout.
            processes: that train it together, each on its part of every batch.

        Raises:
            ConfigurationError: if nothing is trainable, or the schedule does not know its end.
        """
        self.policy = policy
        self.options = SftOptions() if options is None else options
        self.pictures = pictures
        self.batches = 0
        self._seed = seed
        self._processes = processes
        self._optimizer = Optimizer(policy.model, self.options.optimizer, seed=seed, processes=processes)
        self._trained = processes.prepare(policy.scorer(), self._optimizer)
        if processes.rank:
            policy.generator.manual_seed(processes.seed(policy.generator.initial_seed()))

    def act(self, observations: Observations, *, deterministic: bool = False) -> Decision:
        """Choose the next id of every row."""
        return self.policy.act(observations, deterministic=deterministic)

    def learn(self, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """Make one step of the optimizer on the cross entropy, averaged over all tokens of all episodes.

        Returns:
            `loss` in nats a token, `perplexity`, `entropy`, `tokens` (how many were learned), `gradient_norm`,
            `learning_rate`. Several processes say the same, of all their episodes, and `reward` and `episodes`.

        Raises:
            ConfigurationError: if the pictures are not at hand, or there is nothing to learn in the episodes.
            FloatingPointError: if the gradients are not finite.
        """
        samples, processes = self._samples(trajectories), self._processes
        tokens = sum(processes.gather(sum(int(sample.loss_mask.sum()) for sample in samples)))
        if not tokens:
            raise ConfigurationError("Expected episodes in which the policy wrote something, got none to learn from.")
        sums = {"loss": 0.0, "entropy": 0.0}

        def loss_of(rows: list[int]) -> Tensor:
            scores = self._trained(self.policy.collate([samples[row] for row in rows]))
            part: Tensor = -scores.logprobs.sum() / tokens
            sums["loss"] += float(part.detach())
            sums["entropy"] += float(scores.entropies.detach().sum()) / tokens
            return part

        def idle() -> Tensor:
            loss: Tensor = self._trained(self.policy.collate([idle_sample(self.policy)])).logprobs.sum() * 0.0
            return loss

        self._trained.train()
        with self._optimizer.randomness():
            parts = list(microbatches(samples, self.policy, self.options.cells_per_pass))
            processes.accumulate(self._trained, parts, loss_of, idle)
        sums = processes.total(sums)
        stepped = self._optimizer.step(sums["loss"])
        self.policy.forget()
        self.batches += 1
        perplexity = float(torch.tensor(sums["loss"]).exp())
        metrics = {"loss": sums["loss"], "perplexity": perplexity, "entropy": sums["entropy"], "tokens": float(tokens)}
        return {**metrics, **stepped, **batch_metrics(trajectories, processes)}

    def _samples(self, trajectories: Sequence[Trajectory]) -> list[Sample]:
        samples = samples_of(trajectories, self.pictures)
        if self.options.tokens == "all":
            return [sample.with_all(self.policy.codec.image_id) for sample in samples]
        return samples

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the policy, the optimizer and the random numbers to a folder, whole or not at all."""
        state = {"options": asdict(self.options), "seed": self._seed, "batches": self.batches}
        write_learner(path, FILE, self.policy, self._optimizer, state, processes=self._processes)

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
        options = SftOptions.from_row(row["options"])
        learner = cls(policy, options, pictures=pictures, seed=row["seed"], processes=processes)
        restore(policy, learner._optimizer, row, tensors, processes)
        learner.batches = row["batches"]
        return learner
