"""A policy on disk: weights as transformers or peft save them, the image processor, and `policy.json`.

`policy.json` names the tokenizer that the weights were trained with by the digest of its text, and for adapters the
model below them with a digest of its weights: a folder is refused where either has changed.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from mmsearch_agents.policy.inputs import ImageProcessor, processor_for
from mmsearch_agents.policy.model import QwenModel, base_of, load_model, quiet_peft, quiet_weights
from mmsearch_agents.policy.sampling import Sampling
from mmsearch_env.codec import Codec, load_codec
from mmsearch_env.errors import ConfigurationError

FILE = "policy.json"
FORMAT_VERSION = 1


def write_folder(
    path: str | os.PathLike[str],
    model: QwenModel | PeftModel,
    processor: ImageProcessor,
    codec: Codec,
    sampling: Sampling,
    *,
    merged: bool = False,
) -> None:
    """Write a policy to the folder `path`, whole or not at all; what stood there is replaced.

    A model that came from the hub or from a folder is not written again below its adapters; one that was built from a
    configuration is, to `base/`.

    Args:
        path: the folder.
        model: with or without adapters.
        processor: of pictures.
        codec: of the tokenizer that the model was trained with.
        sampling: options to begin with after loading.
        merged: write adapters into the weights: a plain model that needs no peft.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        state: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "tokenizer": codec.name,
            "tokenizer_fingerprint": codec.fingerprint,
            "sampling": asdict(sampling),
        }
        with quiet_weights():
            state |= _write_model(partial, model, merged)
        processor.save_pretrained(partial)
        (partial / FILE).write_text(json.dumps(state, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        _swap(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_model(folder: Path, model: QwenModel | PeftModel, merged: bool) -> dict[str, Any]:
    """Write the weights; return what `policy.json` says of the model below them."""
    if not isinstance(model, PeftModel) or merged:
        plain = _unwrapped(model, merged=True) if isinstance(model, PeftModel) else model
        plain.save_pretrained(folder)
        return {"base": None}
    name = base_of(model).config.name_or_path
    if not name:
        _unwrapped(model).save_pretrained(folder / "base")
    model.save_pretrained(str(folder))
    return {"base": name or "base", "base_digest": weights_digest(base_of(model))}


def _unwrapped(model: PeftModel, *, merged: bool = False) -> QwenModel:
    """Return a copy of the model without adapters, or with them worked into the weights."""
    copied = copy.deepcopy(model)
    with quiet_peft():
        plain: QwenModel = copied.merge_and_unload() if merged else copied.unload()
    return plain


def _swap(partial: Path, target: Path) -> None:
    for file in partial.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    if target.exists():
        target.replace(old)
    partial.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def read_state(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Read `policy.json`.

    Raises:
        ConfigurationError: if the folder holds none, or one that a newer version wrote.
    """
    source = Path(path) / FILE
    try:
        state: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
        version, _ = state["format_version"], state["tokenizer_fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"Expected {os.fspath(path)!r} to be a folder that a policy was saved to, but {FILE}: {error!r}."
        ) from error
    if version != FORMAT_VERSION:
        raise ConfigurationError(
            f"Expected format version {FORMAT_VERSION} in {os.fspath(source)!r}, got {version}. Update mmsearch-env."
        )
    return state


def codec_for(state: Mapping[str, Any], codec: Codec | None = None) -> Codec:
    """Return the tokenizer that the weights were trained with.

    Args:
        state: of `policy.json`.
        codec: one to check; None loads it by its name.

    Raises:
        ConfigurationError: if it is another one.
    """
    codec = load_codec(state["tokenizer"]) if codec is None else codec
    if codec.fingerprint != state["tokenizer_fingerprint"]:
        raise ConfigurationError(
            f"Expected the tokenizer {state['tokenizer_fingerprint'][:12]} that the weights were trained with, got "
            f"{codec.name!r} with {codec.fingerprint[:12]}. With other ids the policy would write noise: make the "
            "environment with the policy's tokenizer, or train with this one."
        )
    return codec


def read_model(
    path: str | os.PathLike[str],
    state: Mapping[str, Any],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    device_map: Any = None,
) -> QwenModel | PeftModel:
    """Load the weights of a policy's folder; see `load_model` for the options.

    Raises:
        ConfigurationError: if they are not there, or the model below the adapters is not the one they were trained on.
    """
    folder = Path(path)
    if state["base"] is None:
        return load_model(folder, dtype=dtype, device=device, device_map=device_map)
    where = folder / "base" if state["base"] == "base" else state["base"]
    base = load_model(where, dtype=dtype, device=device, device_map=device_map)
    found = weights_digest(base)
    if found != state["base_digest"]:
        raise ConfigurationError(
            f"Expected {os.fspath(where)!r} to hold the weights {state['base_digest'][:12]} that the adapters were "
            f"trained on, got {found[:12]}. Restore them, or save the policy with merged=True next time."
        )
    if where == folder / "base":
        base.config.name_or_path = ""  # it has no home of its own, and is written again with the adapters
    with quiet_peft():
        return PeftModel.from_pretrained(base, folder, is_trainable=True)


def read_processor(source: str | os.PathLike[str], model: QwenModel) -> ImageProcessor:
    """Load the image processor beside a model, or make the model's usual one where there is none."""
    try:
        return ImageProcessor.from_pretrained(source)
    except OSError:
        return processor_for(model.config)


def weights_digest(model: QwenModel) -> str:
    """Return a sha256 of a model's norms and biases in bfloat16, which any training of the model changes."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if parameter.ndim == 1 and "lora" not in name:
            digest.update(parameter.detach().to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()
