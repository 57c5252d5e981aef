"""Qwen2.5-VL models: loading them, building them with random weights, and putting LoRA on them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.utils import logging

from mmsearch_env.codec import Codec
from mmsearch_env.errors import ConfigurationError

QwenModel = Qwen2_5_VLForConditionalGeneration

_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_VISION_LINEAR = ("qkv", "proj", "gate_proj", "up_proj", "down_proj")
_BARS = ("Loading weights", "Writing model shards")


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """Which low-rank adapters to train (Hu et al., 2021).

    Attributes:
        rank: of the adapters; the paper has 8.
        alpha: they are scaled by `alpha / rank`; the paper does not say.
        dropout: of the adapters' input while training.
        targets: names of the linear layers of the language model that get one; by default all of each block.
        vision: whether the linear layers of the vision tower's blocks get one as well.
    """

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: Sequence[str] = _LINEAR
    vision: bool = False


def load_model(
    source: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    device_map: Any = None,
) -> QwenModel:
    """Load a model from a folder or from the Hugging Face hub.

    Args:
        source: a folder that `save_pretrained` wrote, or the id of a model on the hub.
        dtype: of the weights; None takes bfloat16 where the device has it, else float32.
        device: where to put it; None takes an accelerator if there is one.
        device_map: passed on to `from_pretrained`, for models that span devices; `device` is ignored then.

    Raises:
        ConfigurationError: if there is no such model, it is no Qwen2.5-VL, or some of its weights are missing.
    """
    where = _device(device)
    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"Expected {os.fspath(source)!r} to be a folder with a model or its id on the hub, but: {error}"
        ) from error
    if not isinstance(config, Qwen2_5_VLConfig):
        raise ConfigurationError(f"Expected a model of type qwen2_5_vl, got {config.model_type!r}.")
    with quiet_weights():
        loaded: Any = QwenModel.from_pretrained(
            source,
            dtype=dtype or _dtype(where),
            device_map=device_map,
            attn_implementation="sdpa",
            output_loading_info=True,
        )
    model, report = loaded
    lacking = sorted([*report["missing_keys"], *(str(name) for name in report["mismatched_keys"])])
    if lacking:
        raise ConfigurationError(
            f"Expected {os.fspath(source)!r} to hold all weights, but {len(lacking)} are missing or of another shape, "
            f"the first is {lacking[0]}. They would be random: use the folder that the weights were saved to."
        )
    placed: QwenModel = model if device_map is not None else model.to(where)
    return placed


def build_model(
    config: Qwen2_5_VLConfig,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = "cpu",
) -> QwenModel:
    """Build a model with random weights that follow from `seed` alone; the global generators stay as they are."""
    with _own_randomness(seed):
        model = QwenModel._from_config(config, attn_implementation="sdpa")  # type: ignore[no-untyped-call]
    built: QwenModel = model.to(device=_device(device), dtype=dtype).eval()
    return built


def add_lora(model: QwenModel, options: LoraOptions = LoraOptions(), *, seed: int = 0) -> PeftModel:
    """Freeze `model` and put adapters on it; without them it is the model that it was.

    Args:
        model: it is changed in place and lives on in the result.
        options: which adapters.
        seed: of their random halves.

    Raises:
        ConfigurationError: if the model has no layers of such names.
    """
    pattern = rf".*\.language_model\..*\.({'|'.join(options.targets)})"
    if options.vision:
        pattern = rf"{pattern}|.*\.visual\.blocks\..*\.({'|'.join(_VISION_LINEAR)})"
    config = LoraConfig(
        r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout, target_modules=f"({pattern})"
    )
    try:
        with _own_randomness(seed), quiet_peft():
            return get_peft_model(model, config)
    except ValueError as error:
        raise ConfigurationError(f"Expected LoRA with {options} to fit the model, but: {error}") from error


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Keep back peft's warning that it asks transformers by a name that will go."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


@contextmanager
def quiet_weights() -> Iterator[None]:
    """Keep back transformers' bars for reading and writing weights; those of downloads, and all others, are shown."""
    set_hook = getattr(logging, "set_tqdm_hook", None)  # came in the course of transformers 5
    if set_hook is None:
        yield
        return

    def hook(factory: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if options.get("desc") in _BARS:
            options = {**options, "disable": True}
        return factory(*args, **options) if before is None else before(factory, args, options)

    before = set_hook(hook)
    try:
        yield
    finally:
        set_hook(before)


def freeze_vision(model: QwenModel | PeftModel) -> None:
    """Leave the vision tower and its projector as they are in training."""
    base_of(model).model.visual.requires_grad_(False)


def checkpoint_gradients(model: QwenModel | PeftModel) -> None:
    """Save memory in training: compute each block's activations again on the way back."""
    base: Any = base_of(model)
    # Renamed in the course of transformers 5.
    enable = getattr(base, "activation_checkpointing_enable", None) or base.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def base_of(model: QwenModel | PeftModel) -> QwenModel:
    """Return the Qwen model itself; adapters that sit in its layers stay in force."""
    return model.get_base_model() if isinstance(model, PeftModel) else model  # type: ignore[return-value]


def text_config(config: Qwen2_5_VLConfig) -> Any:
    """Return the configuration of the language model."""
    return config.text_config


def vision_config(config: Qwen2_5_VLConfig) -> Any:
    """Return the configuration of the vision tower."""
    return config.vision_config


def device_of(model: QwenModel) -> torch.device:
    """Return the device of a model's embeddings, where ids are to be put."""
    return next(model.get_input_embeddings().parameters()).device


def tiny_config(
    codec: Codec,
    *,
    width: int = 128,
    layers: int = 4,
    heads: int = 4,
    kv_heads: int = 2,
    vision_width: int = 64,
    vision_layers: int = 2,
    patch_size: int = 28,
    max_positions: int = 8192,
) -> Qwen2_5_VLConfig:
    """Describe a small model of the real architecture: 1.8 million parameters at the built-in tokenizer's 4,096 ids.

    Args:
        codec: of the tokenizer that it is for.
        width: of the language model; the feed-forward layers are three times as wide.
        layers: of the language model.
        heads: of attention; `width / heads` must be a multiple of 8.
        kv_heads: of keys and values; must divide `heads`.
        vision_width: of the vision tower, which has two heads.
        vision_layers: of the vision tower; all of them attend to the whole picture.
        patch_size: of a square patch, in pixels; 2 x 2 patches make an image token, so 28 makes 16 of 224 x 224.
        max_positions: how long a context may be.

    Raises:
        ConfigurationError: if the widths and heads do not fit together.
    """
    if width % (8 * heads) or heads % kv_heads or vision_width % 16:
        raise ConfigurationError(
            "Expected width / heads to be a multiple of 8, kv_heads to divide heads and vision_width to be a multiple "
            f"of 16, got width={width}, heads={heads}, kv_heads={kv_heads}, vision_width={vision_width}."
        )
    half = width // heads // 2
    # Qwen2.5-VL gives time 2/8 of the rotary pairs, height and width 3/8 each.
    side = half * 3 // 8
    prompt = codec.prompt_ids(None, "", "")
    place = prompt.index(codec.image_id)
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": codec.vocab_size,
            "hidden_size": width,
            "intermediate_size": 3 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "max_position_embeddings": max_positions,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [half - 2 * side, side, side],
            },
            "bos_token_id": None,
            "eos_token_id": codec.end_of_turn_id,
            "pad_token_id": codec.pad_id,
        },
        vision_config={
            "depth": vision_layers,
            "hidden_size": vision_width,
            "intermediate_size": 2 * vision_width,
            "num_heads": 2,
            "out_hidden_size": width,
            "patch_size": patch_size,
            "window_size": 8 * patch_size,
            "fullatt_block_indexes": list(range(vision_layers)),
        },
        image_token_id=codec.image_id,
        vision_start_token_id=prompt[place - 1],
        vision_end_token_id=prompt[place + 1],
        video_token_id=codec.vocab_size,  # there are no videos, and no id to take for one
        tie_word_embeddings=True,
    )


def check_fits(config: Qwen2_5_VLConfig, codec: Codec) -> None:
    """Check that a model reads the ids that a codec writes, as far as its configuration tells.

    Raises:
        ConfigurationError: if it has too few ids, another placeholder for pictures, or sliding windows.
    """
    text = text_config(config)
    if text.vocab_size < codec.vocab_size:
        raise ConfigurationError(
            f"Expected a model with at least the {codec.vocab_size} ids of tokenizer {codec.name!r}, got "
            f"{text.vocab_size}. Make the environment with the tokenizer that the model was trained with."
        )
    if config.image_token_id != codec.image_id:
        raise ConfigurationError(
            f"Expected the model's placeholder for pictures to be id {codec.image_id}, as in tokenizer "
            f"{codec.name!r}, got {config.image_token_id}. Give the model's own tokenizer to the environment."
        )
    if set(text.layer_types) != {"full_attention"}:
        raise ConfigurationError(
            f"Expected a model with full attention in all layers, got {sorted(set(text.layer_types))}. "
            "Set use_sliding_window to false, as the released Qwen2.5-VL models have it."
        )


def _device(device: torch.device | str | None) -> torch.device:
    if device is not None:
        return torch.device(device)
    found = torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if found is None else found


def _dtype(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if device.type in ("xpu", "npu") else torch.float32


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
