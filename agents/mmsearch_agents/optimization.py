"""One step of AdamW: schedule, clipping, and a state that can be written down."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from mmsearch_agents.processes import ALONE, Processes
from mmsearch_agents.schedules import Schedule
from mmsearch_env.errors import ConfigurationError

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
WEIGHT = "weight"
"""Under which names checkpoints hold what belongs to a weight."""


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """AdamW (Loshchilov & Hutter, 2019, arXiv 1711.05101).

    Attributes:
        learning_rate: at its height.
        schedule: what becomes of it.
        betas: decay of the moments.
        epsilon: added to the root of the second.
        weight_decay: of all trained weights.
        max_gradient_norm: gradients are scaled down to this norm; None leaves them. 1 is the default of transformers,
            LLaMA-Factory and verl.
    """

    learning_rate: float
    schedule: Schedule = field(default_factory=Schedule)
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    max_gradient_norm: float | None = 1.0

    def lasting(self, steps: int) -> Self:
        """Return the same options with a schedule of so many steps."""
        return replace(self, schedule=replace(self.schedule, total=steps))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read back what `dataclasses.asdict` gave."""
        return cls(**{**row, "schedule": Schedule(**row["schedule"]), "betas": tuple(row["betas"])})


class Engine(Protocol):
    """What makes the steps of an AdamW in a way of its own; all processes take part in each method."""

    def step(self) -> float:
        """Make a step, unless gradients are not finite; use them up, and return their norm before clipping."""
        ...

    def read(self, weight: nn.Parameter) -> dict[str, Tensor]:
        """Return the moments of a weight, whole, and the weight in float32 if it is less precise itself."""
        ...

    def write(self, weight: nn.Parameter, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `read` gave, as far as it is there."""
        ...


class Optimizer:
    """AdamW over the trainable weights of a model.

    Attributes:
        options: of AdamW.
        adamw: torch's.
        steps: how many were made.
    """

    def __init__(
        self, model: nn.Module, options: OptimizerOptions, *, seed: int = 0, processes: Processes = ALONE
    ) -> None:
        """Optimize what is trainable now.

        Args:
            model: its parameters with `requires_grad`.
            options: of AdamW.
            seed: of dropout, which differs between processes.
            processes: that make the same steps.

        Raises:
            ConfigurationError: if nothing is trainable, or the schedule does not know its end.
        """
        self._weights = self._named = _trainable(model)
        if not self._named:
            raise ConfigurationError("Expected weights with requires_grad to train, got a model without any.")
        self.options = options
        self._seed = seed
        self._processes = processes
        self._engine: Engine | None = None
        self.steps = 0
        self.adamw = self._made()

    def _made(self) -> torch.optim.AdamW:
        options = self.options
        return torch.optim.AdamW(
            self._named.values(),
            lr=options.learning_rate * options.schedule.factor(0),
            betas=options.betas,
            eps=options.epsilon,
            weight_decay=options.weight_decay,
        )

    def train_instead(self, copy: nn.Module) -> None:
        """Optimize a copy of the model whose weights are shards (DTensor); the model takes them over, now and always.

        Args:
            copy: with the same names of weights, which may be more precise than the model's.

        Raises:
            ConfigurationError: if it has other names.
        """
        named = _trainable(copy)
        if others := sorted(named.keys() ^ self._weights.keys()):
            raise ConfigurationError(
                f"Expected the shards to be of the {len(self._weights)} weights that are trained, got others, such as "
                f"{others[0]!r}. Leave fsdp_activation_checkpointing and compilation out of Accelerate's "
                "configuration; `checkpoint_gradients` of mmsearch_agents.policy does the former."
            )
        self._named = named
        self.adamw = self._made()
        self._hand_over()

    def step_by(self, engine: Engine) -> None:
        """Let an engine that has taken over `adamw` make the steps; clipping is left to it."""
        self._engine = engine

    @torch.no_grad()
    def _hand_over(self) -> None:
        for name, weight in self._weights.items():
            if weight is not self._named[name]:
                weight.copy_(_whole(self._named[name]))

    @contextmanager
    def randomness(self) -> Iterator[None]:
        """Seed dropout by the number of the step, and leave the global generators as they are."""
        devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self._processes.seed(self._seed + self.steps))
            yield

    def step(self, loss: float) -> dict[str, float]:
        """Use up the gradients.

        Args:
            loss: that they are of, over all processes.

        Returns:
            `gradient_norm`, before clipping, and `learning_rate`.

        Raises:
            FloatingPointError: if loss or gradients are not finite; the weights are as before then.
        """
        rate = self.options.learning_rate * self.options.schedule.factor(self.steps)
        for group in self.adamw.param_groups:
            group["lr"] = rate
        norm = self._step(loss) if self._engine is None else self._engine.step()
        if not (math.isfinite(norm) and math.isfinite(loss)):
            raise FloatingPointError(
                f"Expected a finite loss and gradients with a finite norm at step {self.steps}, got {loss} and {norm}. "
                "Look for episodes with log-probabilities that are not finite, or lower the learning rate."
            )
        self._hand_over()
        self.steps += 1
        return {"gradient_norm": norm, "learning_rate": rate}

    def _step(self, loss: float) -> float:
        bound = self.options.max_gradient_norm
        norm = float(_whole(nn.utils.clip_grad_norm_(self._named.values(), float("inf") if bound is None else bound)))
        if math.isfinite(norm) and math.isfinite(loss):
            self.adamw.step()
        self.adamw.zero_grad()
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """Return the moments by the names of the weights, none before the first step, and more precise weights.

        All processes take part, and only the main one gets what is in shards.
        """
        found = {}
        for name, weight in self._named.items():
            for kind, tensor in self._kept(name, weight).items():
                whole = _whole(tensor)
                if self._processes.main:
                    found[f"{name}/{kind}"] = whole.cpu()
        return found

    def _kept(self, name: str, weight: nn.Parameter) -> dict[str, Tensor]:
        if self._engine is not None:
            return self._engine.read(weight)
        kept = {moment: self.adamw.state[weight][moment] for moment in MOMENTS if weight in self.adamw.state}
        if kept and weight is not self._weights[name]:
            kept[WEIGHT] = weight.detach()
        return kept

    def restore(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Go on from what `tensors` gave after so many steps.

        Raises:
            ConfigurationError: if they are of other weights.
        """
        moments = {name: tensor for name, tensor in tensors.items() if not name.endswith(f"/{WEIGHT}")}
        lacking = [name for name in self._named if f"{name}/step" not in moments]
        if (lacking or len(moments) != len(MOMENTS) * len(self._named)) and moments:
            raise ConfigurationError(
                f"Expected the moments of {len(self._named)} weights, got {len(moments) // len(MOMENTS)}; "
                f"{lacking[0] if lacking else 'others'} do not fit. Load the learner with the model it trained."
            )
        if self._engine is None:
            self._restore(tensors, moments)
        else:
            for name, weight in self._named.items():
                kinds = (kind for kind in (*MOMENTS, WEIGHT) if f"{name}/{kind}" in tensors)
                self._engine.write(weight, {kind: tensors[f"{name}/{kind}"] for kind in kinds})
        self.steps = steps

    def _restore(self, tensors: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> None:
        state = {
            index: {moment: _like(moments[f"{name}/{moment}"], weight) for moment in MOMENTS}
            for index, (name, weight) in enumerate(self._named.items())
            if moments
        }
        self.adamw.load_state_dict({"state": state, "param_groups": self.adamw.state_dict()["param_groups"]})
        with torch.no_grad():
            for name, weight in self._named.items():
                if weight is not self._weights[name] and f"{name}/{WEIGHT}" in tensors:
                    weight.copy_(_like(tensors[f"{name}/{WEIGHT}"], weight))


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _whole(tensor: Tensor) -> Tensor:
    """Return a tensor put together from its shards, if it is in shards; all processes take part."""
    whole: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return whole


def _like(tensor: Tensor, weight: Any) -> Tensor:
    """Return a tensor in shards where `weight` is; the number of steps, which has no size, stays whole."""
    if not hasattr(weight, "full_tensor") or tensor.shape != weight.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(weight.device, weight.dtype), weight.device_mesh, weight.placements)
