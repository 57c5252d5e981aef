"""Times GRPO on the geometry of Qwen2.5-VL-7B with random weights, on an accelerator.

python -m benchmarks.gpu_7b [--rows 8] [--new-tokens 256] [--image-size 756 1008] [--out RESULTS]
python -m benchmarks.gpu_7b --tiny --out OUT    # the same on a CPU with a tiny model, to see that it works

A step plays a group of episodes of one task through `MMSearchVectorEnv`, with Qwen's own number of cells for the
picture, and learns from them with adapters of rank 8 and checkpointed activations, the divergence's reference included.
No weights and no tokenizer are needed: the built-in one's 4,096 ids are the first of the model's 152,064. The id that
ends a turn is forbidden, so that all episodes are equally long.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median

import torch
from gymnasium.vector import AutoresetMode
from peft import PeftModel
from transformers import Qwen2_5_VLConfig

from benchmarks.estimate_7b import GIB, Geometry, forward_operations, training_operations, vision_operations
from benchmarks.grpo_sides import Vowels, endless
from benchmarks.timing import RESULTS
from mmsearch_agents import Rollouts
from mmsearch_agents.grpo import GRPOLearner, GrpoOptions
from mmsearch_agents.policy import (
    LoraOptions,
    QwenModel,
    QwenPolicy,
    add_lora,
    checkpoint_gradients,
    freeze_vision,
    pictures_of,
)
from mmsearch_env import load_world
from mmsearch_env.codec import Codec, load_codec
from mmsearch_env.stage import Stage
from mmsearch_env.trajectory import Trajectory
from mmsearch_env.vector import MMSearchVectorEnv

_SMALL_DECODER = {"width": 64, "layers": 2, "heads": 2, "kv_heads": 1, "feed_forward": 128, "vocabulary": 4096}
_SMALL_TOWER = {"vision_width": 32, "vision_layers": 2, "vision_heads": 2, "vision_feed_forward": 64}
TINY = Geometry(**_SMALL_DECODER, **_SMALL_TOWER)


@dataclass(frozen=True)
class Setup:
    """What is timed: `rows` episodes of `new_tokens` ids each, about a picture of (height, width) pixels."""

    rows: int = 8
    new_tokens: int = 256
    image_size: tuple[int, int] = (756, 1008)
    repeats: int = 3
    rank: int = 8


@dataclass(frozen=True)
class Measured:
    """One part of a step.

    Attributes:
        seconds: of each repeat.
        tokens: sampled or read in a repeat.
        operations: of matrix products and attention in a repeat, those computed again included.
        peak_bytes: of the accelerator's memory; None on a CPU.
    """

    seconds: list[float]
    tokens: int
    operations: float
    peak_bytes: int | None

    @property
    def tokens_per_second(self) -> float:
        """Return the median rate."""
        return self.tokens / median(self.seconds)

    @property
    def operations_per_second(self) -> float:
        """Return the median rate."""
        return self.operations / median(self.seconds)


def qwen_config(geometry: Geometry, codec: Codec) -> Qwen2_5_VLConfig:
    """Describe a model of this geometry that reads a codec's ids; the other numbers are Qwen2.5-VL-7B-Instruct's."""
    half = geometry.head_width // 2
    side = half * 3 // 8
    prompt = codec.prompt_ids(None, "", "")
    place = prompt.index(codec.image_id)
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": geometry.vocabulary,
            "hidden_size": geometry.width,
            "intermediate_size": geometry.feed_forward,
            "num_hidden_layers": geometry.layers,
            "num_attention_heads": geometry.heads,
            "num_key_value_heads": geometry.kv_heads,
            "max_position_embeddings": 128_000,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1_000_000.0,
                "mrope_section": [half - 2 * side, side, side],
            },
            "bos_token_id": None,
            "eos_token_id": codec.end_of_turn_id,
            "pad_token_id": codec.pad_id,
        },
        vision_config={
            "depth": geometry.vision_layers,
            "hidden_size": geometry.vision_width,
            "intermediate_size": geometry.vision_feed_forward,
            "num_heads": geometry.vision_heads,
            "out_hidden_size": geometry.width,
            "patch_size": geometry.patch_size,
            "window_size": 8 * geometry.patch_size,
            "fullatt_block_indexes": list(range(7, geometry.vision_layers, 8)),
            "tokens_per_second": 2,
        },
        image_token_id=codec.image_id,
        vision_start_token_id=prompt[place - 1],
        vision_end_token_id=prompt[place + 1],
        video_token_id=codec.vocab_size,  # there are no videos, and no id to take for one
        tie_word_embeddings=False,
    )


def build(geometry: Geometry, codec: Codec, device: torch.device, dtype: torch.dtype, rank: int) -> PeftModel:
    """Build a model with random weights where it is to live, since 33 GB of float32 would take minutes to move."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), device:
        torch.manual_seed(0)
        model: QwenModel = QwenModel._from_config(  # type: ignore[no-untyped-call]
            qwen_config(geometry, codec), dtype=dtype, attn_implementation="sdpa"
        )
    freeze_vision(model)
    tuned = add_lora(model, LoraOptions(rank=rank))
    checkpoint_gradients(tuned)
    return tuned


def matmul_peak(device: torch.device, dtype: torch.dtype, *, size: int, repeats: int = 10) -> float:
    """Return the operations per second of the fastest of some products of two square matrices."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = 0.0
    for _ in range(repeats + 1):
        best = max(best, 2 * size**3 / timed(lambda: left @ right, device)[0])
    return best


def timed(work: Callable[[], object], device: torch.device) -> tuple[float, int | None]:
    """Return the seconds of `work` and the most memory that was in use meanwhile."""
    on_cuda = device.type == "cuda"
    if on_cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    work()
    if on_cuda:
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, torch.cuda.max_memory_allocated(device) if on_cuda else None


def measure(geometry: Geometry, setup: Setup, device: torch.device, dtype: torch.dtype) -> dict[str, Measured]:
    """Make steps and time their two parts, playing and learning; the first step only warms up."""
    world, codec = load_world("atlas"), load_codec()
    stage = Stage(world, "train", tokenizer=codec, image_size=setup.image_size)
    task = stage.tasks[0]
    prompt = stage.begin(task).prompt_length
    envs = MMSearchVectorEnv(
        setup.rows,
        world,
        split="train",
        tokenizer=codec,
        image_size=setup.image_size,
        max_tokens=prompt + setup.new_tokens,
        reward=Vowels(),
        autoreset_mode=AutoresetMode.DISABLED,
        copy=False,
    )
    envs.stage.tasks = [task]
    policy = QwenPolicy(build(geometry, codec, device, dtype, setup.rank), endless(codec))
    options = GrpoOptions(kl_coef=0.001, reference="adapters_off")
    learner = GRPOLearner(policy, options, pictures=pictures_of(envs.stage))
    batches = Rollouts(envs=envs, group_size=setup.rows, tasks_per_batch=1).batches(learner)

    playing, learning = [], []
    batch: list[Trajectory] = []
    for _ in range(setup.repeats + 1):
        playing.append(timed(lambda: batch.extend(next(batches)), device))
        learning.append(timed(lambda: learner.learn(batch), device))
        batch.clear()

    image = policy.inputs.patches(envs.stage.view(task)).tokens
    cells = prompt - 1 + image
    context, sampled = cells + setup.new_tokens, setup.rows * setup.new_tokens
    read, share = setup.rows * context, setup.new_tokens / context
    seen = vision_operations(geometry, image)
    # The prompt is read once for all rows; in learning, once without gradient and once with.
    play = cells * forward_operations(geometry, cells, 0.0) + sampled * forward_operations(geometry, context, 1.0)
    learn = read * (forward_operations(geometry, context, share) + training_operations(geometry, context, share))
    return {
        "playing": _measured(playing[1:], sampled, play + seen),
        "learning": _measured(learning[1:], read, learn + 2 * seen),
    }


def _measured(taken: Sequence[tuple[float, int | None]], tokens: int, operations: float) -> Measured:
    peaks = [peak for _, peak in taken if peak is not None]
    return Measured([seconds for seconds, _ in taken], tokens, operations, max(peaks) if peaks else None)


def as_markdown(content: dict[str, object], parts: dict[str, Measured], setup: Setup, peak: float) -> str:
    """Word the results as a table."""
    height, width = setup.image_size
    lines = [f"# GRPO on {content['model']}, {content['device']}", ""]
    lines += [f"`python -m benchmarks.{content['name']}`, {content['date']}", ""]
    lines += ["| part | tokens | seconds | tokens/s | TFLOP/s | share of the matmul peak | peak memory |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|"]
    for name, part in parts.items():
        memory = "not measured" if part.peak_bytes is None else f"{part.peak_bytes / GIB:.1f} GiB"
        rate = part.operations_per_second
        lines.append(
            f"| {name} | {part.tokens:,} | {median(part.seconds):.2f} | {part.tokens_per_second:,.0f} | "
            f"{rate / 1e12:.3g} | {rate / peak:.1%} | {memory} |"
        )
    lines += [
        "",
        f"* {setup.rows} episodes of one task, {setup.new_tokens} ids each behind the full prompt and a picture of "
        f"{width} x {height} pixels; {content['dtype']}, LoRA of rank {setup.rank}, checkpointed activations; medians "
        f"of {setup.repeats} steps after a first one.",
        "* Playing: ids that were sampled, environment included; its operations include reading the prompt, once. "
        "Learning: cells of all episodes, a pass for the reference of the divergence included.",
        f"* Matmul peak: {peak / 1e12:.3g} TFLOP/s, the fastest of ten products of square matrices of side "
        f"{content['matmul_size']:,} in the same run. {content['versions']}.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print and write the results.

    Raises:
        SystemExit: without an accelerator and `--tiny`.
    """
    usual = Setup()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU, to see that it works")
    parser.add_argument("--rows", type=int, default=usual.rows, help="episodes of the group")
    parser.add_argument("--new-tokens", type=int, default=usual.new_tokens, help="ids that each samples")
    parser.add_argument("--image-size", type=int, nargs=2, default=usual.image_size, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--repeats", type=int, default=usual.repeats, help="steps that are timed")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args(arguments)
    if not options.tiny and not torch.cuda.is_available():
        parser.exit(
            2,
            "Expected a CUDA device with at least 32 GB for the geometry of 7 B, got none that torch can use. "
            "Run it where there is one, or with --tiny to see that it works.\n",
        )
    setup = Setup(options.rows, options.new_tokens, tuple(options.image_size), options.repeats)
    geometry, device, dtype, size = Geometry(), torch.device("cuda"), torch.bfloat16, 8192
    if options.tiny:
        geometry, device, dtype, size = TINY, torch.device("cpu"), torch.float32, 256
    peak = matmul_peak(device, dtype, size=size)
    parts = measure(geometry, setup, device, dtype)
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in ("torch", "transformers", "peft"))
    content: dict[str, object] = {
        "name": "gpu_7b --tiny" if options.tiny else "gpu_7b",
        "model": "a tiny Qwen2.5-VL" if options.tiny else "Qwen2.5-VL-7B's geometry, random weights",
        "device": "CPU" if options.tiny else torch.cuda.get_device_name(),
        "date": datetime.now(UTC).date().isoformat(),
        "dtype": str(dtype).removeprefix("torch."),
        "matmul_size": size,
        "matmul_operations_per_second": peak,
        "versions": versions,
        "setup": asdict(setup),
        "parts": {name: asdict(part) for name, part in parts.items()},
    }
    text = as_markdown(content, parts, setup, peak)
    stem = "gpu_7b_tiny" if options.tiny else "gpu_7b"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{stem}.md").write_text(text, encoding="utf-8")
    (options.out / f"{stem}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
