"""Estimates memory and time of GRPO on Qwen2.5-VL-7B from first principles; nothing is run.

python -m benchmarks.estimate_7b [--out benchmarks/results]

Formulas: a matrix of n weights takes 2n operations per token forward and 2n for each of the two gradients, of its input
and of itself (Kaplan et al., 2020, arXiv 2001.08361, table 1 and section 2.1); frozen weights need the first only.
Blocks whose activations are computed again cost one more forward pass (Chen et al., 2016, arXiv 1604.06174). A sampled
token reads all weights and its row's keys and values once (Pope et al., 2022, arXiv 2211.05102).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import RESULTS

BF16, FP32 = 2, 4
GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Sizes of a Qwen2.5-VL; the defaults are those of Qwen2.5-VL-7B-Instruct's `config.json`."""

    width: int = 3584
    layers: int = 28
    heads: int = 28
    kv_heads: int = 4
    feed_forward: int = 18_944
    vocabulary: int = 152_064
    vision_width: int = 1280
    vision_layers: int = 32
    vision_heads: int = 16
    vision_feed_forward: int = 3420
    patch_size: int = 14

    @property
    def head_width(self) -> int:
        """Return the width of a head of attention."""
        return self.width // self.heads

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """Return inputs and outputs of the linear layers of one block of the language model."""
        kv, inner = self.kv_heads * self.head_width, self.feed_forward
        w = self.width
        return (w, w), (w, kv), (w, kv), (w, w), (w, inner), (w, inner), (inner, w)

    @property
    def vision_parameters(self) -> int:
        """Return the weights of the vision tower and its projector."""
        w, inner, merged = self.vision_width, self.vision_feed_forward, 4 * self.vision_width
        attention = 4 * w * w + 4 * w
        gated = 3 * w * inner + 2 * inner + w
        patches = 3 * 2 * self.patch_size**2 * w
        projector = w + merged * merged + merged + merged * self.width + self.width
        return patches + self.vision_layers * (attention + gated + 2 * w) + projector

    @property
    def block_parameters(self) -> int:
        """Return the weights in the blocks of the language model."""
        biases = self.width + 2 * self.kv_heads * self.head_width
        return self.layers * (sum(a * b for a, b in self.linears) + biases + 2 * self.width)

    @property
    def parameters(self) -> int:
        """Return all weights; embeddings and head are not tied."""
        return self.vision_parameters + self.block_parameters + 2 * self.vocabulary * self.width + self.width

    def lora_parameters(self, rank: int) -> int:
        """Return the weights of adapters on all linear layers of the language model: rank times inputs plus outputs."""
        return self.layers * rank * sum(a + b for a, b in self.linears)

    @property
    def cache_bytes(self) -> int:
        """Return the bytes of a cell's keys and values in bfloat16."""
        return 2 * self.layers * self.kv_heads * self.head_width * BF16


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a step of GRPO has to do.

    Attributes:
        rollouts: episodes per step.
        context: cells of an episode at its end, its picture's included.
        prompt: cells of it that its group shares, and are read once for each group.
        sampled: ids that the policy samples in an episode.
        group_size: episodes of one task.
        rows: episodes that are played at a time.
        cells_per_pass: of a microbatch.
        rank: of the adapters.
        passes_without_gradient: over all episodes before the step: 1 for the reference of a divergence.
    """

    rollouts: int
    context: int
    prompt: int
    sampled: int
    group_size: int = 8
    rows: int = 64
    cells_per_pass: int = 16_384
    rank: int = 8
    passes_without_gradient: int = 1


@dataclass(frozen=True, kw_only=True)
class Device:
    """An accelerator: dense bfloat16 operations per second, bytes per second and bytes of its memory."""

    name: str
    operations: float
    bandwidth: float
    memory: float


H100 = Device(name="H100 SXM", operations=989e12, bandwidth=3.35e12, memory=80e9)
"""By NVIDIA's data sheet, without sparsity."""

SMALL = Work(rollouts=8, context=2048, prompt=1300, sampled=384, rows=8)
PAPER = Work(rollouts=4096, context=4096, prompt=1300, sampled=768)
EFFICIENCY = {"compute": 0.4, "bandwidth": 0.5}
"""Shares of the peak that are reckoned with; `benchmarks.gpu_7b` measures them."""


def attention_operations(geometry: Geometry, context: int) -> float:
    """Return the operations of attention per cell, forward, of a causal context: half of it is seen on average."""
    return 4 * geometry.layers * geometry.width * context / 2


def forward_operations(geometry: Geometry, context: int, scored: float) -> float:
    """Return the operations per cell, forward; the head is applied to the share `scored` of the cells."""
    head = 2 * geometry.vocabulary * geometry.width * scored
    return 2 * geometry.block_parameters + attention_operations(geometry, context) + head


def vision_operations(geometry: Geometry, image_tokens: int) -> float:
    """Return the operations of encoding a picture, forward: four patches make an image token."""
    return 2 * geometry.vision_parameters * 4 * image_tokens


def training_operations(geometry: Geometry, context: int, scored: float) -> float:
    """Return the operations per cell of a training pass with frozen weights, activations computed again.

    Forward, forward again, and the gradients of the inputs: 6 N where training all weights would take 8 N.
    """
    return 3 * forward_operations(geometry, context, scored)


def memory(geometry: Geometry, work: Work) -> dict[str, float]:
    """Return what takes memory, in bytes.

    Adapters are float32 as peft makes them, with a gradient and two moments of AdamW each, and a copy that the
    divergence is measured from. Checkpoints are one bfloat16 vector per cell and block; of the block that is computed
    again, inputs of its linear layers and of the gate's product stand at once.
    """
    g, cells = geometry, work.cells_per_pass
    block = 8 * g.width + 4 * g.feed_forward + 2 * g.kv_heads * g.head_width
    return {
        "weights": g.parameters * BF16,
        "adapters, gradients, moments, reference": g.lora_parameters(work.rank) * 5 * FP32,
        "keys and values while playing": work.rows * work.context * g.cache_bytes,
        "checkpointed activations": g.layers * cells * g.width * BF16,
        "activations of one block": cells * block * BF16,
        "logits": 4 * (1 << 25) * FP32,
    }


def peak_memory(parts: dict[str, float]) -> float:
    """Return the larger of playing and training, which do not happen at the same time, in bytes."""
    playing, kept = "keys and values while playing", ("weights", "adapters, gradients, moments, reference")
    training = sum(size for name, size in parts.items() if name != playing and name not in kept)
    return sum(parts[name] for name in kept) + max(parts[playing], training)


def seconds(geometry: Geometry, work: Work, device: Device) -> dict[str, float]:
    """Return the seconds of a step on one device, by part."""
    compute = device.operations * EFFICIENCY["compute"]
    bandwidth = device.bandwidth * EFFICIENCY["bandwidth"]
    scored = work.sampled / work.context
    read = work.rollouts * (work.context - work.sampled - work.prompt * (1 - 1 / work.group_size))
    step = (geometry.parameters * BF16 + work.rows * work.context * geometry.cache_bytes) / bandwidth
    cells = work.rollouts * work.context
    forward = forward_operations(geometry, work.context, scored)
    return {
        "reading prompts and tools' answers": read * forward_operations(geometry, work.context, 0.0) / compute,
        "sampling": work.rollouts / work.rows * work.sampled * step,
        "passes without gradient": work.passes_without_gradient * cells * forward / compute,
        "training": cells * training_operations(geometry, work.context, scored) / compute,
    }


def as_markdown(geometry: Geometry, device: Device, works: dict[str, Work]) -> str:
    """Word the estimates as tables."""
    share, width = EFFICIENCY["compute"], EFFICIENCY["bandwidth"]
    lines = ["# Estimated memory and time of GRPO on Qwen2.5-VL-7B", "", "`python -m benchmarks.estimate_7b`", ""]
    lines += ["| one device | " + " | ".join(works) + " |", "|---|" + "---:|" * len(works)]

    def row(name: str, cells: Sequence[str]) -> None:
        lines.append(f"| {name} | " + " | ".join(cells) + " |")

    row("episodes per step", [f"{work.rollouts:,}" for work in works.values()])
    row("cells of an episode, sampled of them", [f"{work.context:,}, {work.sampled:,}" for work in works.values()])
    parts = [memory(geometry, work) for work in works.values()]
    for name in parts[0]:
        row(f"{name}, GiB", [f"{part[name] / GIB:.1f}" for part in parts])
    row("**peak memory, GiB**", [f"**{peak_memory(part) / GIB:.0f}**" for part in parts])
    times = [seconds(geometry, work, device) for work in works.values()]
    for name in times[0]:
        row(f"{name}, s", [f"{time[name]:,.0f}" if time[name] >= 10 else f"{time[name]:.1f}" for time in times])
    totals = [sum(time.values()) for time in times]
    row("**a step**", [f"**{total:,.0f} s**" if total < 600 else f"**{total / 3600:.1f} h**" for total in totals])
    lines += [
        "",
        f"* {geometry.parameters / 1e9:.2f} billion weights, {geometry.vision_parameters / 1e9:.2f} of them vision; "
        f"{geometry.lora_parameters(8) / 1e6:.1f} million in adapters of rank 8; {geometry.cache_bytes:,} bytes of "
        "keys and values per cell, which take up to twice the room, since it grows by doubling.",
        f"* Time on one {device.name}: {device.operations / 1e12:,.0f} TFLOP/s dense bfloat16 and "
        f"{device.bandwidth / 1e12:.2f} TB/s by its data sheet, of which {share:.0%} and {width:.0%} are counted on: "
        "assumed, not measured. Waiting for tools, the vision tower, kernels' launches and the optimizer are left out.",
        "* A forward pass takes 2 operations per weight and cell; training 6 with frozen weights and activations "
        "computed again. Sampling is bound by bandwidth: each id of a batch reads all weights and the rows' keys and "
        "values.",
        "* Lengths are assumptions: a picture of about 1,000 image tokens, the full prompt, and pages as the "
        "environment words them.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the estimates and write them to the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args(arguments)
    geometry, works = Geometry(), {"8 episodes": SMALL, "`paper_main`": PAPER}
    text = as_markdown(geometry, H100, works)
    rows = {
        name: {"memory_bytes": memory(geometry, work), "seconds": seconds(geometry, work, H100)}
        for name, work in works.items()
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "estimate_7b.md").write_text(text, encoding="utf-8")
    (options.out / "estimate_7b.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
