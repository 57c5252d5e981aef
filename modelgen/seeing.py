"""Teaches the vision tower what atlas's pictures show, place by place, before a language model learns to ask it.

A question about a picture has one or two ids that tell anything; here each of a picture's tokens has to say what lies
there, and what the picture as a whole shows. The heads that say it are thrown away afterwards.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmsearch_agents.policy import QwenPolicy
from mmsearch_agents.policy.inputs import image_features
from mmsearch_agents.policy.model import base_of, text_config
from mmsearch_env.pictures import letterbox
from mmsearch_env.stage import Stage
from worldgen.backgrounds import BACKGROUNDS
from worldgen.knowledge.facts import load_facts
from worldgen.layouts import KINDS
from worldgen.scene_records import Scene
from worldgen.scenes import SCENES, compose, plan_scenes
from worldgen.subjects import find_subjects

_GRID = 4
_KINDS = sorted(KINDS)
_BACKGROUNDS = sorted(BACKGROUNDS)
_COLOURS = ("red", "green", "blue", "yellow", "black", "white", "orange")
_MOST = 4
_UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Seen:
    """What N pictures show; P tokens each, `_UNKNOWN` where there is nothing to say.

    Attributes:
        views: uint8 (N, height, width, 3).
        kinds: of what lies at a token: 0 for nothing, else 1 + its number in `_KINDS`; int64 (N, P).
        colours: whether each colour is on the flag that lies there, int64 (N, P, 7).
        stars: whether a star is, int64 (N, P).
        backgrounds: int64 (N,).
        counts: how many things there are, less one, int64 (N,).
        shown: whether each kind is there, int64 (N, kinds).
    """

    views: npt.NDArray[np.uint8]
    kinds: npt.NDArray[np.int64]
    colours: npt.NDArray[np.int64]
    stars: npt.NDArray[np.int64]
    backgrounds: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    shown: npt.NDArray[np.int64]


def draw_seen(stage: Stage, count: int, *, first: int = 0) -> Seen:
    """Draw `count` scenes of train entities that atlas does not have, and note what they show.

    Args:
        stage: its size of pictures is taken.
        count: how many; each takes about 60 ms.
        first: how many to pass over.
    """
    facts = load_facts()
    begin = SCENES["train"] + first
    plans = plan_scenes(find_subjects(facts.split), {"train": begin + count})[begin:]
    drawn = [compose(plan) for plan in plans]
    views = np.stack([letterbox(pixels, stage.image_size) for _, pixels in drawn])
    scenes = [scene for scene, _ in drawn]
    covers = [_covers(scene) for scene in scenes]
    described = [
        [import_module(f"worldgen.draw.{item.domain}").describe(item.slug) for item in scene.items] for scene in scenes
    ]
    kinds = np.array([[0 if at is None else 1 + _KINDS.index(one.items[at].domain) for at in cover]
                      for one, cover in zip(scenes, covers, strict=True)])  # fmt: skip
    colours = np.full((*kinds.shape, len(_COLOURS)), _UNKNOWN)
    stars = np.full(kinds.shape, _UNKNOWN)
    for number, (scene, cover) in enumerate(zip(scenes, covers, strict=True)):
        for place, at in enumerate(cover):
            if at is not None and scene.items[at].domain in ("flags", "signals"):
                facts_seen = described[number][at]
                colours[number, place] = [colour in facts_seen["colours"] for colour in _COLOURS]
                stars[number, place] = facts_seen["stars"] > 0
    return Seen(
        views,
        kinds,
        colours,
        stars,
        np.array([_BACKGROUNDS.index(scene.background) for scene in scenes]),
        np.array([len(scene.items) - 1 for scene in scenes]),
        np.array([[any(item.domain == kind for item in scene.items) for kind in _KINDS] for scene in scenes], np.int64),
    )


def _covers(scene: Scene) -> list[int | None]:
    """Return for each token, row by row, which item covers most of it, if one covers a quarter."""
    # A picture is fitted into a square with bars above and below, which the grid divides.
    size = max(scene.width, scene.height) / _GRID
    top = (max(scene.width, scene.height) - scene.height) / 2
    found: list[int | None] = []
    for row in range(_GRID):
        for column in range(_GRID):
            left, upper = column * size, row * size - top
            shares = [
                max(0.0, min(item.box.right, left + size) - max(item.box.left, left))
                * max(0.0, min(item.box.bottom, upper + size) - max(item.box.top, upper))
                / size**2
                for item in scene.items
            ]
            best = int(np.argmax(shares))
            found.append(best if shares[best] >= 0.25 else None)
    return found


class _Heads(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.place = nn.Linear(width, 1 + len(_KINDS) + len(_COLOURS) + 1)
        self.whole = nn.Linear(width, len(_BACKGROUNDS) + _MOST + len(_KINDS))

    def forward(self, features: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the logits of kinds, colours and stars, (N, P, …), and of background, count and kinds shown."""
        place = self.place(features).split([1 + len(_KINDS), len(_COLOURS), 1], dim=-1)
        whole = self.whole(features).split([len(_BACKGROUNDS), _MOST, len(_KINDS)], dim=-1)
        return list(place), list(whole)


def teach_seeing(
    policy: QwenPolicy,
    seen: Seen,
    *,
    passes: int,
    log: Path | None = None,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> dict[str, float]:
    """Train the vision tower and its projector in place; the first tenth of the pictures is held out.

    Args:
        policy: its language model stays as it is.
        seen: what to learn.
        passes: over the pictures.
        log: gets a line after every pass.
        batch_size: pictures per step.
        learning_rate: at its height; it falls to 0 along a line.
        seed: of the order and the heads.

    Returns:
        Accuracies on the held-out pictures: `kind`, `background`, `count`, `shown`, and `colour` and `star` if one of
        them shows a flag.
    """
    model = base_of(policy.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = _Heads(text_config(model.config).hidden_size)
    weights = [*model.model.visual.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.05)
    rng = np.random.default_rng(seed)
    held_out = max(len(seen.views) // 10, 1)
    training, unseen = np.arange(held_out, len(seen.views)), np.arange(held_out)
    steps = passes * -(-len(training) // batch_size)
    step, found = 0, {}
    for number in range(passes):
        order = rng.permutation(training)
        for start in range(0, len(order), batch_size):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * min(1.0, (step + 1) / 50) * (1 - step / steps)
            loss, _ = _judge(policy, heads, seen, order[start : start + batch_size])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            step += 1
        parts = [unseen[at : at + batch_size] for at in range(0, len(unseen), batch_size)]
        shares: dict[str, list[float]] = {}
        with torch.no_grad():
            for part in parts:
                for name, share in _judge(policy, heads, seen, part)[1].items():
                    shares.setdefault(name, []).append(share)
        found = {name: float(np.mean(values)) for name, values in shares.items()}
        if log is not None:
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"pass": number + 1} | {name: round(v, 4) for name, v in found.items()}) + "\n")
    policy.forget()
    return found


def _judge(
    policy: QwenPolicy, heads: _Heads, seen: Seen, rows: npt.NDArray[np.integer[Any]]
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss on some pictures, and accuracies, of colours and stars only if there is a flag."""
    pictures = [policy.inputs.patches(seen.views[row]) for row in rows]
    with torch.autocast("cpu", torch.bfloat16):
        features = torch.stack(image_features(base_of(policy.model), pictures))
    (kind, colour, star), (background, count, shown) = heads(features.float())
    tokens = features.shape[1]

    def target(values: npt.NDArray[np.int64], spread: bool = False) -> Tensor:
        chosen = torch.from_numpy(values[rows])
        return chosen[:, None].expand(-1, tokens, *chosen.shape[1:]) if spread else chosen

    judged = {
        "kind": (kind, target(seen.kinds)),
        "background": (background, target(seen.backgrounds, True)),
        "count": (count, target(seen.counts, True)),
        "colour": (colour, target(seen.colours)),
        "star": (star[..., 0], target(seen.stars)),
        "shown": (shown, target(seen.shown, True)),
    }
    losses, right = [], {}
    for name, (logits, wanted) in judged.items():
        if name in ("kind", "background", "count"):
            losses.append(functional.cross_entropy(logits.flatten(0, 1), wanted.flatten()))
            right[name] = float((logits.argmax(-1) == wanted).float().mean())
        else:
            known = wanted != _UNKNOWN
            if not known.any():  # the mean of nothing would be no number, and so would all weights be
                continue
            losses.append(functional.binary_cross_entropy_with_logits(logits[known], wanted[known].float()))
            right[name] = float(((logits[known] > 0) == (wanted[known] > 0)).float().mean())
    return torch.stack(losses).sum(), right
