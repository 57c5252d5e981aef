"""DeepSpeed's ZeRO (Rajbhandari et al., 2020, arXiv 1910.02054): each process steps a part of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmsearch_agents.optimization import MOMENTS, WEIGHT
from mmsearch_env.errors import ConfigurationError

STAGES = (1, 2)
"""Those that leave the weights whole in each process."""


class ZeroEngine:
    """What makes the steps of an AdamW, whose moments and float32 weights lie in parts, one in each process.

    Attributes:
        module: DeepSpeed's, around the scorer, whose weights stay whole and its own.
    """

    def __init__(self, accelerator: Any, scorer: nn.Module, adamw: torch.optim.AdamW, bound: float | None) -> None:
        """Let DeepSpeed take over the weights of `scorer`; with bf16 it rounds all of them to bfloat16.

        Args:
            accelerator: Accelerate's, of one of the `STAGES`.
            scorer: what is trained.
            adamw: over the weights of `scorer` that are.
            bound: gradients are scaled down to this norm; None leaves them.

        Raises:
            ConfigurationError: if weights are not in float32 and bf16 is not set, or the optimizer is to be offloaded.
        """
        plugin = accelerator.deepspeed_plugin
        if plugin.offload_optimizer_device not in (None, "none"):
            raise ConfigurationError(
                "Expected the optimizer's state to stay where the weights are, got offload_optimizer_device="
                f"{plugin.offload_optimizer_device!r}. Set it to none, or start more processes to divide it among."
            )
        others = {weight.dtype for weight in scorer.parameters()} - {torch.float32}
        if others and accelerator.mixed_precision != "bf16":
            raise ConfigurationError(
                f"Expected weights in torch.float32 for DeepSpeed without mixed precision, got {others.pop()}. Set "
                "mixed_precision: bf16 in Accelerate's configuration, or load the policy in float32."
            )
        # How many passes there are, and of what size, is said with each; the optimizer's options tell the rest.
        plugin.deepspeed_config |= {
            "train_batch_size": "auto",
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": bound or 0.0,
            "data_types": {"grad_accum_dtype": "fp32"},
        }
        self.module, _ = accelerator.prepare(scorer, adamw)
        self._adamw = adamw

    def step(self) -> float:
        """Make a step, unless gradients are not finite; use them up, and return their norm before clipping."""
        self.module.step()
        return float(self.module.get_global_grad_norm())

    def read(self, weight: nn.Parameter) -> dict[str, Tensor]:
        """Return the moments of a weight, whole, and the weight in float32 if it is less precise itself."""
        from deepspeed.utils import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
            safe_get_full_fp32_param,
            safe_get_full_optimizer_state,
        )

        found = {}
        if self._part in self._adamw.state:
            step, *moments = MOMENTS
            found[step] = self._adamw.state[self._part][step].clone()
            found |= {moment: safe_get_full_optimizer_state(weight, moment) for moment in moments}
        if weight.dtype != torch.float32:
            found[WEIGHT] = safe_get_full_fp32_param(weight)
        return found

    def write(self, weight: nn.Parameter, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `read` gave, as far as it is there."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        step, *moments = MOMENTS
        if step in tensors:
            state = self._adamw.state[self._part]
            state[step] = tensors[step].clone()
            for moment in moments:
                state.setdefault(moment, torch.zeros_like(self._part))
            # DeepSpeed looks for the moments after its first step only.
            self.module.optimizer._lazy_init_hp_params_optimizer_state()
            for moment in moments:
                safe_set_full_optimizer_state(weight, tensors[moment], moment)
        if WEIGHT in tensors:
            safe_set_full_fp32_param(weight, tensors[WEIGHT])

    @property
    def _part(self) -> Tensor:
        """The float32 weights that this process steps, one after the other."""
        part: Tensor = self._adamw.param_groups[0]["params"][0]
        return part


def backward(module: Any, loss: Tensor, *, last: bool) -> None:
    """Add up the gradients of a loss in DeepSpeed's module; the last makes the averages over processes ready.

    A loss that is not finite makes gradients that are not, of which no step is made.
    """
    module.set_gradient_accumulation_boundary(last)
    module.backward(loss * (1.0 + 0.0 * loss.detach()))
