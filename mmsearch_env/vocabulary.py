"""What a `tokenizer.json` says: building its tokenizers, and how it cuts text up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mmsearch_env.errors import ConfigurationError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_QWEN_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def splits_as_qwen(spec: str) -> bool:
    """Say whether a tokenizer cuts text into pieces as Qwen's does."""
    splitter = json.loads(spec).get("pre_tokenizer") or {}
    steps = splitter.get("pretokenizers", [splitter])
    patterns = [step["pattern"].get("Regex") for step in steps if step.get("type") == "Split"]
    return patterns == [_QWEN_PIECES]


def build_tokenizers(name: str, spec: str) -> tuple[Tokenizer, Tokenizer]:
    """Return the tokenizer that knows all added tokens but matches no special one in text, and one that knows none."""
    from tokenizers import Tokenizer

    try:
        full = Tokenizer.from_str(spec)
        full.encode_special_tokens = True
        bare = json.loads(spec)
        added = {token["content"] for token in bare["added_tokens"]}
        bare["added_tokens"] = []
        bare["post_processor"] = None
        vocab = bare["model"]["vocab"]
        bare["model"]["vocab"] = {token: index for token, index in vocab.items() if token not in added}
        plain = Tokenizer.from_str(json.dumps(bare))
    except Exception as error:
        raise ConfigurationError(
            f"Expected tokenizer {name!r} to be a byte-level BPE in Hugging Face's tokenizer.json form, but: {error}."
        ) from error
    return full, plain
