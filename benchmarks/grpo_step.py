"""Times a step of GRPO, sampling and update, against TRL's `GRPOTrainer` with the same model.

python -m benchmarks.grpo_step [--world atlas] [--quick] [--out benchmarks/results]

A step samples 64 completions of 128 ids, 8 for each of 8 prompts, and makes one step of AdamW on them, 16 at a time.
Both sides have the same weights to begin with, the same prompts, lengths, temperature, loss, type of numbers and
threads and no divergence term; the id that ends a turn is forbidden on both, so that completions are equally long.
"""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch

from benchmarks.grpo_sides import Cost, Ours, Size, Theirs
from benchmarks.timing import Report, Row, as_row, main
from mmsearch_env import World

OURS = "mmsearch-env"
THEIRS = "TRL"
SIDES = (OURS, THEIRS)
GOAL = 1.5
QUICK = Size(groups=1, group_size=4, microbatches=2, new_tokens=4, repeats=2, sizes=(("width", 32), ("layers", 1)))


def make_side(name: str, world: World, size: Size) -> Ours | Theirs:
    """Return one side of the comparison, ready to make steps."""
    return Ours(world, size) if name == OURS else Theirs(world, size)


def peak_memory(name: str, world: World, size: Size) -> tuple[float, float]:
    """Return the peak resident memory of this process, which plays one side alone, before and after two steps, in MiB.

    The first step makes the moments of AdamW; in the second there is all that there ever is.
    """
    side = make_side(name, world, size)
    before = peak_resident()
    for _ in range(2):
        side.step()
    return before, peak_resident()


def peak_resident() -> float:
    """Return the peak resident memory of this process in MiB.

    On Linux `ru_maxrss` is at least that of the process which started this one, so it is not asked there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text("utf-8").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def peaks(world: World, size: Size) -> dict[str, tuple[float, float]]:
    """Measure each side's memory in a process of its own."""
    found = {}
    for name in SIDES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found[name] = pool.submit(peak_memory, name, world, size).result()
    return found


def median_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float]:
    """Return an interval that holds the median whatever the distribution: two order statistics, by the sign test."""
    ordered, count = sorted(values), len(values)
    outside, low = 0.0, 0
    while low < count // 2:
        outside += 2 * math.comb(count, low) / 2**count
        if outside > 1 - confidence:
            break
        low += 1
    low = max(low - 1, 0)
    return ordered[low], ordered[count - 1 - low]


def run(world: World, *, quick: bool = False) -> Report:
    """Measure memory, each side by itself; then time all sides in turn, every other round the other way round."""
    size = QUICK if quick else Size()
    memory = peaks(world, size)
    ours = Ours(world, size)
    sides: dict[str, Ours | Theirs] = {OURS: ours, THEIRS: Theirs(world, size)}
    costs: dict[str, list[Cost]] = {name: [] for name in SIDES}
    for repeat in range(size.repeats + 1):
        for name in SIDES if repeat % 2 else reversed(SIDES):
            cost = sides[name].step()
            if repeat:  # the first round warms up
                costs[name].append(cost)
    seconds = {name: [cost.seconds for cost in costs[name]] for name in SIDES}
    rows: list[Row] = [as_row(OURS, seconds[OURS], unit="s", reference=THEIRS)]
    rows.append(as_row(THEIRS, seconds[THEIRS], unit="s"))
    played = median([part / cost.cpu_seconds for part, cost in zip(ours.played[1:], costs[OURS], strict=True)])
    parameters = sum(weight.numel() for weight in ours.learner.policy.model.parameters())
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in ("torch", "transformers", "trl"))
    peak = "; ".join(f"{name} {after:,.0f} MiB ({before:,.0f} before)" for name, (before, after) in memory.items())
    notes = [
        _comparison(costs),
        f"Peak resident memory of a process that makes two steps of one side, and before them: {peak}.",
        f"Each step: {size.groups * size.group_size} completions of {size.new_tokens} ids, {size.group_size} to a "
        f"prompt, sampled at temperature 1 all together; one step of AdamW in {size.microbatches} microbatches; "
        "clipped loss averaged over tokens, advantages less the group's mean, the share of vowels as the reward, no "
        f"divergence. A model of {parameters / 1e6:.1f} million parameters with random weights, float32, "
        f"{torch.get_num_threads()} thread(s), {versions}.",
        f"{OURS}: `Rollouts` through `MMSearchVectorEnv`, environment, pictures and their encoding included, and "
        f"`GRPOLearner.learn`; world {world.name}. {100 * played:.0f} % of the processor's time is playing.",
        "TRL: `GRPOTrainer` on the same prompts as text, a filler id in place of each of the picture's cells; bf16 "
        "and gradient checkpointing, on by default, are off, as here; its time runs from `on_step_begin` to "
        "`on_step_end`. It is text only and one turn since its way to pictures, `Qwen2_5_VLProcessor`, needs "
        "torchvision, which has no build for this torch, and its `tools` want a chat template with tool calls, which "
        "the dialects here do not have; with tools, lengths could not be equal either.",
    ]
    return Report("grpo_step", "A step of GRPO, sampling and update", rows, notes)


def _comparison(costs: dict[str, list[Cost]]) -> str:
    pairs = list(zip(costs[THEIRS], costs[OURS], strict=True))
    ratios = [theirs.seconds / ours.seconds for theirs, ours in pairs]
    cpu_ratios = [theirs.cpu_seconds / ours.cpu_seconds for theirs, ours in pairs]
    (low, high), (cpu_low, cpu_high) = median_interval(ratios), median_interval(cpu_ratios)
    return (
        f"TRL takes {median(ratios):.2f} times as long as {OURS} (median of {len(pairs)} pairs timed one after the "
        f"other, its 95 % interval {low:.2f} to {high:.2f}), and {median(cpu_ratios):.2f} times the processor's time "
        f"({cpu_low:.2f} to {cpu_high:.2f}), which other processes disturb less; the goal is {GOAL}."
    )


if __name__ == "__main__":
    main(run, __doc__ or "")
