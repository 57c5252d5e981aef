"""Pretrains `tiny-base` from scratch: Qwen2.5-VL's architecture at 2 M parameters, on dialogues under new names."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed

from mmsearch_agents.policy import QwenPolicy, Sample, build_model, by_length, tiny_config
from modelgen.dialogues import Dialogue, Encoder, cut, endless, teacher_episodes
from modelgen.keeping import keep
from modelgen.looking import looked_at
from modelgen.names import Cutter, known_names
from modelgen.seeing import draw_seen, teach_seeing

_POOL = 256
"""How many dialogues are sorted by length at a time."""

_COLD = 1e-3
"""A temperature at which all probability is on the likeliest id."""


@dataclass(frozen=True)
class Settings:
    """What a run is made of; its curriculum goes by the number of tokens seen.

    Attributes:
        tokens: how many to train on, over all processes.
        batch_tokens: about how many a process's batch holds.
        learning_rate: the highest; it rises over `warmup` tokens, stays, and falls to 0 over the last `cooldown`.
        warmup: see there.
        cooldown: see there.
        thin_until: tokens after which tool answers are shown whole; before, the share left out falls from 1.
        told_weight: weight of the loss on what the policy did not write, next to 1 for what it wrote.
        told_until: tokens after which only what the policy wrote has a loss: by then copying is learnt.
        answer_weight: weight of the loss on a dialogue's last turn: few ids, from which reading and seeing are learnt.
        told_share: how many of those tokens have a loss whatever they are, drawn anew each time. Those that follow
            what they followed before in the dialogue always have one: from them copying is learnt.
        search_share: how many of the dialogues have searches.
        keep: the probability that a name stays as it is.
        scenes: how many new pictures to ask about.
        seen_scenes: how many others the vision tower learns to see beforehand.
        seen_passes: how often it sees each.
        tasks: how many tasks of each split to take; 0 for all.
        evaluate_every: updates between evaluations and checkpoints.
        seed: of everything.
    """

    tokens: int = 40_000_000
    batch_tokens: int = 4096
    learning_rate: float = 3e-3
    warmup: int = 400_000
    cooldown: int = 10_000_000
    thin_until: int = 20_000_000
    told_weight: float = 0.5
    told_until: int = 17_000_000
    answer_weight: float = 5.0
    told_share: float = 0.1
    search_share: float = 0.5
    keep: float = 0.1
    scenes: int = 5000
    seen_scenes: int = 2400
    seen_passes: int = 25
    tasks: int = 0
    evaluate_every: int = 200
    seed: int = 0


def pretrain(folder: Path, settings: Settings) -> None:
    """Train until `settings.tokens` were seen, going on from `folder/checkpoint.pt` if there is one.

    Started by torchrun, its processes share the work: each has batches of its own and all take the mean gradient.

    Args:
        folder: gets `log.jsonl`, the checkpoint and, at the end, the policy under `policy/`.
        settings: of the run.
    """
    rank, processes = _join()
    folder.mkdir(parents=True, exist_ok=True)
    cutter = Cutter(known_names())
    episodes, stage = teacher_episodes("train", settings.tasks or None)
    dialogues = [cut(episode, stage, cutter) for episode in episodes]
    share = settings.scenes // processes
    dialogues += looked_at(stage, share, part=rank, kept=folder / f"scenes-{rank}-of-{processes}.npz")
    encoder = Encoder(stage)
    unseen, _ = teacher_episodes("validation", settings.tasks or None)
    rng = np.random.default_rng([settings.seed, 1])
    probes = [encoder.sample(cut(one, stage, cutter), rng, thin=0.0, keep=1.0) for one in unseen[::2]]
    policy = QwenPolicy(build_model(tiny_config(stage.codec, vision_width=96), seed=settings.seed), stage.codec)
    optimizers = _optimizers(policy, settings)
    seen, step = _resume(folder / "checkpoint.pt", policy, optimizers)
    if step == 0 and settings.seen_scenes:
        drawn = draw_seen(stage, settings.seen_scenes, first=settings.scenes)
        teach_seeing(policy, drawn, passes=settings.seen_passes, log=folder / "seeing.jsonl" if rank == 0 else None)
    rng = np.random.default_rng([settings.seed, 2, step, rank])
    losses: list[float] = []
    waiting: list[list[Sample]] = []
    started = time.monotonic()
    while seen < settings.tokens:
        if not waiting:
            waiting = _batches(dialogues, encoder, settings, seen, rng)
        batch = waiting.pop()
        _set_rate(optimizers, learning_rate(settings, seen))
        losses.append(_update(policy, optimizers, batch, settings, seen, rng))
        seen, step = seen + _total(sum(len(sample.token_ids) for sample in batch)), step + 1
        if step % settings.evaluate_every == 0 or seen >= settings.tokens:
            if rank == 0:
                row: dict[str, Any] = {"step": step, "tokens": seen, "loss": round(float(np.mean(losses)), 4)}
                row |= {name: round(share, 4) for name, share in exactness(policy, probes).items()}
                row["seconds"] = round(time.monotonic() - started)
                with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
                    log.write(json.dumps(row) + "\n")
                _save(folder / "checkpoint.pt", policy, optimizers, seen, step)
            losses.clear()
    if rank == 0:
        keep(policy, folder / "policy")
        (folder / "settings.json").write_text(json.dumps(asdict(settings), indent=1) + "\n", encoding="utf-8")
    if processes > 1:
        distributed.destroy_process_group()


def learning_rate(settings: Settings, seen: int) -> float:
    """Return the learning rate after so many tokens."""
    rise = (seen + 1) / settings.warmup
    fall = (settings.tokens - seen) / settings.cooldown
    return settings.learning_rate * max(0.0, min(1.0, rise, fall))


def _join() -> tuple[int, int]:
    """Join torchrun's other processes, if it started this one; return rank and number of processes."""
    if "RANK" not in os.environ:
        return 0, 1
    distributed.init_process_group("gloo")
    return distributed.get_rank(), distributed.get_world_size()


def _total(count: int) -> int:
    """Return the sum of a number over all processes."""
    if not distributed.is_initialized():
        return count
    summed = torch.tensor(count)
    distributed.all_reduce(summed)
    return int(summed)


def _optimizers(policy: QwenPolicy, settings: Settings) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices inside and AdamW for the rest: embeddings, norms, biases and the picture's patches.

    Muon (Jordan et al., 2024), with updates of the size of AdamW's (Liu et al., arXiv 2502.16982).
    """
    inside: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in policy.model.named_parameters():
        (inside if parameter.dim() == 2 and "embed" not in name else rest).append(parameter)
    rate = settings.learning_rate
    return [
        torch.optim.Muon(inside, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _set_rate(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def _batches(
    dialogues: list[Dialogue], encoder: Encoder, settings: Settings, seen: int, rng: np.random.Generator
) -> list[list[Sample]]:
    """Draw a pool of dialogues and sort it into batches of like length, in random order."""
    thin = max(0.0, 1.0 - seen / settings.thin_until)
    drawn: Iterator[Dialogue] = endless(dialogues, settings.search_share, rng)
    pool = [encoder.sample(next(drawn), rng, thin=thin, keep=settings.keep) for _ in range(_POOL)]
    groups = list(by_length(pool, settings.batch_tokens))
    return [[pool[index] for index in groups[number]] for number in rng.permutation(len(groups)).tolist()]


def _update(
    policy: QwenPolicy,
    optimizers: list[torch.optim.Optimizer],
    batch: list[Sample],
    settings: Settings,
    seen: int,
    rng: np.random.Generator,
) -> float:
    """Take one step on a batch, `seen` tokens having gone before; return the weighted mean of its loss per token."""
    samples, weights = [], []
    telling_on = seen < settings.told_until
    for sample in batch:
        own = np.asarray(sample.loss_mask, np.bool_)
        telling = repeats(sample.token_ids) | (rng.random(len(own)) < settings.told_share)
        told = sample.with_all(policy.codec.image_id).loss_mask & ~own & telling & telling_on
        samples.append(Sample(sample.token_ids, own | told, sample.pictures))
        weight = own + settings.told_weight * told
        weight[np.flatnonzero(~own)[-1] + 1 :] *= settings.answer_weight
        weights.append(weight)
    tokens = policy.collate(samples)
    factors = torch.zeros(tokens.loss_mask.shape)
    for row, values in enumerate(weights):
        factors[row, : len(values)] = torch.from_numpy(values.astype(np.float32))
    policy.model.train()
    with torch.autocast("cpu", torch.bfloat16):
        scores = policy.scorer()(tokens, entropies=False)
    loss = -(scores.logprobs * factors).sum() / factors.sum()
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if distributed.is_initialized():
        _average_gradients(policy)
    torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    policy.forget()
    return float(loss.detach())


def repeats(ids: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
    """Say of each id whether it follows the same id as somewhere before, (L,)."""
    pairs = np.asarray(ids[:-1], np.int64) << 32 | np.asarray(ids[1:], np.int64)
    again = np.ones(len(ids), np.bool_)
    again[0] = False
    again[1 + np.unique(pairs, return_index=True)[1]] = False
    return again


def _average_gradients(policy: QwenPolicy) -> None:
    """Give every process the mean of all processes' gradients, in one message."""
    gradients = [parameter.grad for parameter in policy.model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    for gradient, mean in zip(gradients, torch.split(flat, [gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


@torch.no_grad()
def exactness(policy: QwenPolicy, samples: list[Sample]) -> dict[str, float]:
    """Return how often whole turns are repeated greedily, the dialogue so far being given.

    A turn counts if every id of it is the likeliest one: at a temperature near 0 it alone has a probability above one
    half. Keys are `turn_<number>`, `answer` (the last of several) and `perception`.
    """
    policy.model.eval()
    found: dict[str, list[bool]] = {}
    for group in by_length(samples, 8192):
        batch = policy.collate([samples[index] for index in group])
        scores = policy.scorer()(batch, temperature=_COLD, masked=True, entropies=False)
        for row, index in enumerate(group):
            own = np.asarray(samples[index].loss_mask, np.int8)
            edges = np.flatnonzero(np.diff(np.concatenate([[0], own, [0]])))
            turns = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
            for number, (start, end) in enumerate(turns):
                name = "perception" if len(turns) == 1 else "answer" if number == len(turns) - 1 else f"turn_{number}"
                likeliest = scores.logprobs[row, start:end] > math.log(0.5)
                found.setdefault(name, []).append(bool(likeliest.all()))
    return {name: float(np.mean(values)) for name, values in sorted(found.items())}


def _resume(checkpoint: Path, policy: QwenPolicy, optimizers: list[torch.optim.Optimizer]) -> tuple[int, int]:
    """Load a checkpoint if there is one; return tokens and steps so far."""
    if not checkpoint.exists():
        return 0, 0
    state = torch.load(checkpoint, weights_only=True)
    policy.model.load_state_dict(state["model"])
    for optimizer, stored in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(stored)
    return int(state["seen"]), int(state["step"])


def _save(path: Path, policy: QwenPolicy, optimizers: list[torch.optim.Optimizer], seen: int, step: int) -> None:
    fresh = path.with_suffix(".fresh")
    states = [optimizer.state_dict() for optimizer in optimizers]
    state = {"model": policy.model.state_dict(), "optimizers": states, "seen": seen, "step": step}
    with fresh.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
