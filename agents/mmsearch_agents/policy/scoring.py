"""Log-probabilities and entropies of recorded ids under a model, in one full pass, with gradients where wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from mmsearch_agents.policy.inputs import InputBuilder, Patches, embed, image_features
from mmsearch_agents.policy.model import QwenModel, base_of, device_of
from mmsearch_env.errors import ConfigurationError
from mmsearch_env.records import Pixels
from mmsearch_env.stage import Stage
from mmsearch_env.trajectory import Trajectory

PictureSource = Callable[[Trajectory], Sequence[Pixels]]
"""Gives the pictures that stood in an episode's context, as the policy saw them: letterboxed."""

_LOGITS_PER_CHUNK = 1 << 25


def pictures_of(stage: Stage) -> PictureSource:
    """Return the pictures of episodes as the environments of `stage` show them."""
    return lambda trajectory: (stage.view(trajectory.task),)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A stream to score, and which of its ids.

    Attributes:
        token_ids: integers (L,), one placeholder per picture.
        loss_mask: true or 1 at the ids to score, (L,).
        pictures: in the order of their placeholders, uint8 (height, width, 3) each.
    """

    token_ids: npt.NDArray[np.integer[Any]]
    loss_mask: npt.NDArray[Any]
    pictures: Sequence[Pixels] = ()

    @classmethod
    def of(cls, trajectory: Trajectory, pictures: PictureSource) -> Self:
        """Take what the policy wrote in an episode."""
        return cls(trajectory.token_ids, trajectory.loss_mask, pictures(trajectory))

    def with_all(self, image_id: int) -> Self:
        """Score every id but the first and the placeholders, as in training from scratch."""
        mask = np.asarray(self.token_ids) != image_id
        mask[:1] = False
        return type(self)(self.token_ids, mask, self.pictures)


@dataclass(frozen=True, slots=True, eq=False)
class TokenBatch:
    """B streams laid out in cells and padded at their ends; S ids of them are to be scored.

    Attributes:
        ids: of the cells, int64 (B, E).
        positions: M-RoPE's, int64 (3, B, E).
        pictures: the different ones.
        shown: for each placeholder in turn, which of `pictures` stands there.
        rows: of the scored ids, int64 (S,).
        places: of the scored ids in their streams, int64 (S,).
        cells: the one before each scored id, where it is predicted, int64 (S,).
        targets: the scored ids, int64 (S,).
        loss_mask: true at the scored ids, bool (B, L).
    """

    ids: Tensor
    positions: Tensor
    pictures: tuple[Patches, ...]
    shown: tuple[int, ...]
    rows: Tensor
    places: Tensor
    cells: Tensor
    targets: Tensor
    loss_mask: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a model says to a batch; 0 where nothing was scored.

    Attributes:
        logprobs: of the ids, (B, L), float32, or float64 from a model of that.
        entropies: of the distributions that they were drawn from, in nats, (B, L), likewise; without gradients.
        loss_mask: true at the scored ids, bool (B, L).
    """

    logprobs: Tensor
    entropies: Tensor
    loss_mask: Tensor


def collate(samples: Sequence[Sample], inputs: InputBuilder, *, pad_id: int) -> TokenBatch:
    """Lay streams out side by side.

    Args:
        samples: at least one.
        inputs: of the model that will score them.
        pad_id: fills the ends; it must not be the placeholder for pictures.

    Raises:
        ConfigurationError: if a mask does not fit its ids, or asks for the first id, which nothing predicts.
    """
    digests: dict[str, int] = {}
    pictures: list[Patches] = []
    shown: list[int] = []
    layouts = []
    for sample in samples:
        own = [inputs.patches(pixels) for pixels in sample.pictures]
        for patches in own:
            if patches.digest not in digests:
                digests[patches.digest] = len(pictures)
                pictures.append(patches)
            shown.append(digests[patches.digest])
        layouts.append(inputs.layout(sample.token_ids, own))
    batch, width = len(samples), max(len(layout.ids) for layout in layouts)
    ids = torch.full((batch, width), pad_id)
    positions = torch.zeros(3, batch, width, dtype=torch.int64)
    loss_mask = np.zeros((batch, max(len(sample.token_ids) for sample in samples)), np.bool_)
    cells = np.zeros(loss_mask.shape, np.int64)
    targets = np.zeros(loss_mask.shape, np.int64)
    for row, (sample, layout) in enumerate(zip(samples, layouts, strict=True)):
        length, end = len(sample.token_ids), len(layout.ids)
        mask = np.asarray(sample.loss_mask).astype(np.bool_)
        if mask.shape != (length,) or mask[:1].any():
            raise ConfigurationError(
                f"Expected a loss_mask of shape ({length},) that leaves the first id out, got {mask.shape}, "
                f"{mask[:1].tolist()} at the first."
            )
        ids[row, :end], positions[:, row, :end] = layout.ids, layout.positions
        loss_mask[row, :length], targets[row, :length] = mask, sample.token_ids
        cells[row, 1:length] = layout.ends[:-1]
    rows, places = np.nonzero(loss_mask)
    return TokenBatch(
        ids,
        positions,
        tuple(pictures),
        tuple(shown),
        torch.from_numpy(rows),
        torch.from_numpy(places),
        torch.from_numpy(cells[rows, places]),
        torch.from_numpy(targets[rows, places]),
        torch.from_numpy(loss_mask),
    )


class TokenScorer(nn.Module):
    """A model as a module from `TokenBatch` to `Scores`, which Accelerate, DDP and FSDP can wrap as a whole.

    Logits are computed at the scored ids only, so many at a time that they take bounded memory, and anew on the way
    back if there are several lots.
    """

    def __init__(self, model: QwenModel | PeftModel, allowed: Tensor | None = None) -> None:
        """Score with `model`.

        Args:
            model: with or without adapters.
            allowed: the ids that a policy may emit, bool (V,), for `masked=True`.
        """
        super().__init__()
        self.model = model
        self.register_buffer("allowed", allowed, persistent=False)
        self.allowed: Tensor | None

    def forward(
        self, batch: TokenBatch, *, temperature: float = 1.0, masked: bool = False, entropies: bool = True
    ) -> Scores:
        """Score a batch.

        Args:
            batch: on any device.
            temperature: divides the logits; that of sampling, for a policy's own ids.
            masked: take the distribution over the allowed ids only, as the policy samples; a scored id that is not
                allowed has the log-probability -inf then.
            entropies: tell the entropies as well; they cost about as much as the log-probabilities. Else they are 0.

        Raises:
            ConfigurationError: if `masked` is set and the scorer does not know which ids are allowed.
        """
        if masked and self.allowed is None:
            raise ConfigurationError("Expected the allowed ids for masked=True. Give them to TokenScorer.")
        hidden = self._hidden(batch)
        head = base_of(self.model).lm_head
        allowed = self.allowed.to(hidden.device) if masked and self.allowed is not None else None
        targets = batch.targets.to(hidden.device)

        def score(part: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
            return _scores(head(part), wanted, allowed, temperature, entropies)

        size = max(_LOGITS_PER_CHUNK // head.out_features, 1)
        parts = list(zip(torch.split(hidden, size), torch.split(targets, size), strict=True))
        several = len(parts) > 1 and torch.is_grad_enabled()
        scored = [checkpoint(score, *part, use_reentrant=False) if several else score(*part) for part in parts]
        logprobs, spread = (torch.cat(values) for values in zip(*scored, strict=True))
        where = batch.rows.to(hidden.device), batch.places.to(hidden.device)
        empty = torch.zeros(batch.loss_mask.shape, dtype=logprobs.dtype, device=hidden.device)
        return Scores(
            empty.index_put(where, logprobs), empty.index_put(where, spread), batch.loss_mask.to(hidden.device)
        )

    def _hidden(self, batch: TokenBatch) -> Tensor:
        """Return the last layer's output where a scored id is predicted, (S, width)."""
        base = base_of(self.model)
        device = device_of(base)
        features = image_features(base, batch.pictures)
        output = base.model.language_model(
            inputs_embeds=embed(base, batch.ids.to(device), [features[index] for index in batch.shown]),
            attention_mask=None,  # attention is causal and rows are padded at their ends: nothing sees the padding
            position_ids=batch.positions.to(device),
            use_cache=False,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden[batch.rows.to(hidden.device), batch.cells.to(hidden.device)]


def _scores(
    logits: Tensor, targets: Tensor, allowed: Tensor | None, temperature: float, with_entropies: bool
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities and entropies, (S,) each."""
    scaled = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature != 1:
        scaled = scaled / temperature
    open_to = scaled if allowed is None else scaled.masked_fill(~allowed, -torch.inf)
    logprobs = -functional.cross_entropy(open_to, targets, reduction="none")
    if not with_entropies:
        return logprobs, torch.zeros_like(logprobs)
    with torch.no_grad():
        # With the finite logits here, a forbidden id adds 0 times a number and not NaN.
        return logprobs, open_to.logsumexp(dim=-1) - (open_to.softmax(dim=-1) * scaled).sum(dim=-1)


def by_length(samples: Sequence[Sample], cells_per_batch: int, image_tokens: int = 0) -> Iterator[list[int]]:
    """Split samples into batches of like length: yields the indices of each batch, long ones first.

    Args:
        samples: of any lengths.
        cells_per_batch: rows times the longest row, padding included; a longer stream is a batch by itself.
        image_tokens: cells that a picture takes.
    """
    sizes = [len(sample.token_ids) + len(sample.pictures) * max(image_tokens - 1, 0) for sample in samples]
    batch: list[int] = []
    for index in sorted(range(len(samples)), key=lambda index: -sizes[index]):
        if batch and (len(batch) + 1) * sizes[batch[0]] > cells_per_batch:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
