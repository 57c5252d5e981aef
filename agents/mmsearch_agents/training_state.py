"""A learner on disk: its policy's folder, and beside it what training needs to go on, as JSON and safetensors."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mmsearch_agents.optimization import Optimizer
from mmsearch_agents.policy import QwenPolicy
from mmsearch_agents.processes import ALONE, Processes
from mmsearch_env.errors import ConfigurationError

TENSORS = "training.safetensors"
FORMAT_VERSION = 1


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a folder to write into, which stands at `path` afterwards, whole or not at all.

    Where nothing stood at `path`, there is no moment at which something half-written can be seen there.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (target.with_name(f".{target.name}.{os.getpid()}.{kind}") for kind in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
        for place in (partial, *partial.rglob("*")):
            _sync(place)
        if target.exists():
            target.replace(old)
        partial.replace(target)
        _sync(target.parent)
    finally:
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_learner(
    path: str | os.PathLike[str],
    file: str,
    policy: QwenPolicy,
    optimizer: Optimizer,
    state: Mapping[str, Any],
    tensors: Mapping[str, Tensor] | None = None,
    *,
    processes: Processes = ALONE,
) -> None:
    """Write a learner to the folder `path`; the main process does, and all wait for it.

    Args:
        path: the folder; what stood there is replaced.
        file: the JSON file that tells what kind of learner it is.
        policy: what acts.
        optimizer: of its weights.
        state: plain JSON values to go on from.
        tensors: more to go on from.
        processes: that train it; each draws random numbers of its own.
    """
    kept = {f"optimizer/{name}": tensor for name, tensor in optimizer.tensors().items()}
    kept |= {f"extra/{name}": tensor for name, tensor in (tensors or {}).items()}
    for rank, drawn in enumerate(processes.gather(policy.generator.get_state().tolist())):
        kept[_generator(rank)] = torch.tensor(drawn, dtype=torch.uint8)
    # Whoever goes on from the folder has nothing read yet; so that it makes no difference, neither has who goes on now.
    policy.forget()
    if processes.main:
        _write(path, file, policy, optimizer, state, kept)
    processes.gather(None)


def _write(
    path: str | os.PathLike[str],
    file: str,
    policy: QwenPolicy,
    optimizer: Optimizer,
    state: Mapping[str, Any],
    kept: Mapping[str, Tensor],
) -> None:
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()})
    row = {
        "format_version": FORMAT_VERSION,
        "steps": optimizer.steps,
        "frozen": _frozen(policy),
        "tensors": hashlib.sha256(content).hexdigest(),
        **state,
    }
    with written_whole(path) as folder:
        policy.save(folder)
        (folder / TENSORS).write_bytes(content)
        (folder / file).write_text(json.dumps(row, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_state(path: str | os.PathLike[str], file: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read what `write_learner` wrote beside the policy.

    Returns:
        The JSON values and all tensors; `restore` gives them back to a policy and an optimizer.

    Raises:
        ConfigurationError: if there is no such learner, or its files do not belong together.
    """
    folder = Path(path)
    try:
        row: dict[str, Any] = json.loads((folder / file).read_text(encoding="utf-8"))
        content = (folder / TENSORS).read_bytes()
        version, digest = row["format_version"], row["tensors"]
        tensors = load(content)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ConfigurationError(f"Expected {folder} to hold a learner with {file}, but: {error!r}.") from error
    if version != FORMAT_VERSION or digest != hashlib.sha256(content).hexdigest():
        raise ConfigurationError(
            f"Expected {folder} to hold format version {FORMAT_VERSION} and the tensors written with {file}, got "
            f"version {version}, or other tensors. Load another checkpoint."
        )
    return row, tensors


def extra(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the learner's own tensors."""
    return {name.removeprefix("extra/"): value for name, value in tensors.items() if name.startswith("extra/")}


def restore(
    policy: QwenPolicy,
    optimizer: Optimizer,
    row: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    processes: Processes = ALONE,
) -> None:
    """Let sampling and optimizer go on where they were; a process that was not there then begins with new numbers.

    Raises:
        ConfigurationError: if the moments are those of other weights.
    """
    if _generator(processes.rank) in tensors:
        policy.generator.set_state(tensors[_generator(processes.rank)].to(torch.uint8))
    else:
        policy.generator.manual_seed(processes.seed(int(row["seed"]) + int(row["batches"])))
    moments = {
        name.removeprefix("optimizer/"): tensor for name, tensor in tensors.items() if name.startswith("optimizer/")
    }
    optimizer.restore(moments, int(row["steps"]))


def _generator(rank: int) -> str:
    return f"generator/{rank}" if rank else "generator"


def freeze_again(policy: QwenPolicy, row: Mapping[str, Any]) -> None:
    """Freeze the weights that were frozen; peft knows of its own which are."""
    frozen = set(row["frozen"])
    for name, weight in policy.model.named_parameters():
        if name in frozen:
            weight.requires_grad_(False)


def _frozen(policy: QwenPolicy) -> list[str]:
    if isinstance(policy.model, PeftModel):
        return []
    return sorted(name for name, weight in policy.model.named_parameters() if not weight.requires_grad)
