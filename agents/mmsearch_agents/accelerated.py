"""Several processes that Accelerate adds up the gradients of, as `accelerate launch` or torchrun starts them."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from importlib.util import find_spec
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mmsearch_agents.deepspeed_engine import STAGES, ZeroEngine, backward
from mmsearch_agents.optimization import Optimizer
from mmsearch_agents.policy import TokenScorer
from mmsearch_agents.processes import ALONE, Processes
from mmsearch_env.errors import ConfigurationError, missing_extra

T = TypeVar("T")

_PATIENCE = timedelta(hours=2)
_WHOLE = ("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_XPU", "MULTI_NPU")


def launched() -> Processes:
    """Return what `accelerate launch` or torchrun started this process as; it is alone if nothing did.

    Call it before models are made: it says which accelerator is this process's own. Where something else started
    several (mpirun, srun), make an `Accelerated()`.

    Raises:
        MissingExtraError: if there are several and Accelerate is not installed.
        ConfigurationError: as `Accelerated` does.
    """
    return Accelerated() if torch.distributed.is_torchelastic_launched() else ALONE


class Accelerated(Processes):
    """One of several processes, each with the whole policy.

    With DDP and ZeRO (stages 1 and 2 of DeepSpeed) they train it, and with FSDP 2 a copy in shards, whose weights the
    policy takes over after each step. So nobody waits for others in acting, nor in any pass without gradients.

    Attributes:
        accelerator: Accelerate's.
    """

    def __init__(self, accelerator: Any = None, *, patience: timedelta = _PATIENCE) -> None:
        """Take part.

        Args:
            accelerator: an `accelerate.Accelerator`; None makes one from what the launcher says.
            patience: how long the others may keep this one waiting; they do while the main one evaluates.

        Raises:
            MissingExtraError: if Accelerate is not installed, or DeepSpeed is not and Accelerate is told to use it.
            ConfigurationError: if it is told to train in a way that is not known here.
        """
        if accelerator is None:
            try:
                from accelerate import Accelerator  # type: ignore[import-untyped, unused-ignore]
            except ImportError as error:
                raise missing_extra("accelerate", "agents") from error
            if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true" and find_spec("deepspeed") is None:
                raise missing_extra("deepspeed", "deepspeed")
            # Without an accelerator it has to be told to take the CPU, or it takes each process for one alone.
            accelerator = Accelerator(cpu=None if torch.accelerator.is_available() else True)
        kind, stage = accelerator.distributed_type.value, None
        if kind == "DEEPSPEED":
            stage = accelerator.deepspeed_plugin.zero_stage
            kind = f"{kind} with ZeRO stage {stage}"
        if not (kind in _WHOLE or accelerator.is_fsdp2 or stage in STAGES) or accelerator.mixed_precision == "fp16":
            raise ConfigurationError(
                "Expected Accelerate to train with DDP, FSDP 2, or ZeRO stage 1 or 2 of DeepSpeed, and not in fp16, "
                f"got {kind} and mixed_precision={accelerator.mixed_precision!r}. Launch it with one of the files in "
                "examples/accelerate; fsdp.yaml does what ZeRO stage 3 would."
            )
        self.accelerator = accelerator
        self._zero = stage is not None
        self.rank, self.count = accelerator.process_index, accelerator.num_processes
        # Values are told over a group of their own: no gradients wait in it, and no module keeps it from ending.
        self._group: Any = None
        self._parted = False
        if self.count > 1:
            self._group = torch.distributed.new_group(backend="gloo", timeout=patience)

    def gather(self, value: Any) -> list[Any]:
        """Return the value of each process, by rank; plain JSON values, and NaN."""
        if self.count == 1:
            return [value]
        # Accelerate's gather_object would unpickle what the others send.
        content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = [int(length) for length in self._rows(torch.tensor([len(content)]))]
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[: len(content)] = content
        rows = self._rows(padded)
        return [json.loads(row[:length].numpy().tobytes()) for row, length in zip(rows, lengths, strict=True)]

    def prepare(self, scorer: TokenScorer, optimizer: Optimizer) -> nn.Module:
        """Return `scorer`, or a copy in shards, as a module whose gradients are those of all processes."""
        prepared: Any
        if self.accelerator.is_fsdp2:
            # Accelerate wants an optimizer beside the model; the real one is made of the shards.
            shards = copy.deepcopy(scorer)
            prepared, _ = self.accelerator.prepare(shards, torch.optim.SGD(shards.parameters()))
            optimizer.train_instead(prepared.model)
        elif self._zero:
            engine = ZeroEngine(self.accelerator, scorer, optimizer.adamw, optimizer.options.max_gradient_norm)
            optimizer.step_by(engine)
            prepared = engine.module
        else:
            prepared = self.accelerator.prepare_model(scorer)
        return prepared  # type: ignore[no-any-return]

    def accumulate(
        self, prepared: nn.Module, parts: Sequence[T], loss_of: Callable[[T], Tensor], idle: Callable[[], Tensor]
    ) -> None:
        """Add up gradients; all make as many passes as the one with the most, and send them with the last."""
        passes = max(self.gather(len(parts)))
        for number in range(passes):
            last = number == passes - 1
            with nullcontext() if last or self._zero else self.accelerator.no_sync(prepared):
                loss = loss_of(parts[number]) if number < len(parts) else idle()
                # Gradients are averaged over processes, but the losses add up.
                loss = loss * self.count
                if self._zero:
                    backward(prepared, loss, last=last)
                else:
                    loss.backward()  # type: ignore[no-untyped-call]

    def end(self) -> None:
        """Wait for the others and part with them."""
        if self._parted:
            return
        self._parted = True
        self.gather(None)
        if self._group is not None:
            # A thread of Gloo's needs Python to let go of what was gathered. Ended here, the group waits for it without
            # keeping Python; ended with DDP, which keeps both, it could wait for ever.
            torch.distributed.destroy_process_group(self._group)
            self._group = None
        self.accelerator.end_training()

    def _rows(self, row: Tensor) -> list[Tensor]:
        """Return the row of each process, by rank; all have the same shape."""
        rows = [torch.empty_like(row) for _ in range(self.count)]
        torch.distributed.all_gather(rows, row, group=self._group)
        return rows
