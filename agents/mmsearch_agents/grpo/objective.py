"""The objective of GRPO: what a minibatch is compared with, and a microbatch's share of the loss.

Letters: B episodes, L tokens of the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmsearch_agents.grpo.options import GrpoOptions
from mmsearch_agents.losses import engine_correction, kl_terms, policy_terms, token_weights
from mmsearch_agents.policy import Sample, Scores


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What the loss compares B episodes with; on the CPU, in float64 where it is not as it was scored.

    Attributes:
        samples: B of them.
        mask: 1.0 at the tokens to learn from, (B, L).
        advantages: (B,).
        sampled: log-probabilities as sampled, (B, L), or None.
        old: of the policy before the first step, (B, L), or None where that is the one that is scored.
        reference: (B, L), or None.
    """

    samples: Sequence[Sample]
    mask: Tensor
    advantages: Tensor
    sampled: Tensor | None
    old: Tensor | None
    reference: Tensor | None

    def part(self, rows: Sequence[int], width: int | None = None) -> Targets:
        """Return some of the episodes, cut to the first `width` tokens."""
        index = torch.tensor(rows, dtype=torch.int64)

        def cut(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[index, :width]

        mask = self.mask[index, :width]
        samples = [self.samples[row] for row in rows]
        return Targets(samples, mask, self.advantages[index], cut(self.sampled), cut(self.old), cut(self.reference))


def weights_of(mask: Tensor, options: GrpoOptions, *, tokens: float, episodes: int) -> Tensor:
    """Return the weights of tokens, (B, L), in a minibatch of which these are a process's episodes.

    Args:
        mask: (B, L).
        options: of GRPO.
        tokens: how many the whole minibatch has to learn from.
        episodes: how many it has.
    """
    weights = token_weights(mask, aggregation=options.aggregation, constant=options.aggregation_constant)
    here, whole = (float(mask.sum()), tokens) if options.aggregation == "token_mean" else (len(mask), episodes)
    return weights * (max(here, 1) / max(whole, 1))


def objective(
    scores: Scores, targets: Targets, weights: Tensor, options: GrpoOptions
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a microbatch's share of the loss, and what there is to report.

    Args:
        scores: of its B episodes by the policy that is trained.
        targets: what they are compared with.
        weights: of its tokens, (B, L), computed for the whole minibatch, so that the shares add up to its loss.
        options: of GRPO.

    Returns:
        The loss, and `loss` and `policy_loss` without gradient, and sums over the tokens of `entropy`,
        `clip_fraction`, `kl_sampled` and `kl`.
    """
    logprobs = scores.logprobs

    def here(values: Tensor) -> Tensor:
        return values.to(logprobs.device, logprobs.dtype)

    mask, weights, now = here(targets.mask), here(weights), logprobs.detach()
    old = now if targets.old is None else here(targets.old)
    terms = policy_terms(
        logprobs,
        old,
        here(targets.advantages),
        mask,
        ratio=options.ratio,
        clip_low=options.clip_low,
        clip_high=options.clip_high,
        dual_clip=options.dual_clip,
    )
    losses = terms.losses
    if options.engine_correction is not None and targets.sampled is not None:
        losses = losses * engine_correction(old, here(targets.sampled), bound=options.engine_correction)
    loss = policy_loss = (losses * weights).sum()
    figures = {"entropy": (scores.entropies.detach() * mask).sum(), "clip_fraction": terms.clipped.sum()}
    if targets.sampled is not None:
        figures["kl_sampled"] = (kl_terms(now, here(targets.sampled)) * mask).sum()
    if targets.reference is not None:
        divergence = kl_terms(logprobs, here(targets.reference), estimator=options.kl_estimator)
        figures["kl"] = (divergence.detach() * mask).sum()
        if options.kl_place == "loss":
            loss = loss + options.kl_coef * (divergence * weights).sum()
    return loss, {"loss": loss.detach(), "policy_loss": policy_loss.detach(), **figures}
