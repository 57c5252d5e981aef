"""Text to token ids and back: the chat layout of Qwen2.5-VL over any tokenizer that has its special tokens.

Three ways to write text, by how far it is trusted:

* `Codec.encode` is for text from a world, a tool or a user. It knows the byte-level vocabulary and nothing else, so
  no text whatever becomes a control token: `<|im_end|>` in a document is ten harmless pieces.
* `Codec.encode_move` is for what a policy writes, and for the words of a dialect: tokens that the tokenizer adds
  without marking them special (`<tool_call>` in Qwen's) become their ids, as when the model itself writes them.
* Control tokens are only ever placed by id, by `Codec.prompt_ids` and `Codec.tool_turn_ids`.

`decode(encode(text)) == text` holds for the built-in tokenizer. Qwen's own puts text into Unicode's NFC first, so
there it holds for text that is in NFC.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mmsearch_env.errors import ConfigurationError
from mmsearch_env.vocabulary import build_tokenizers, splits_as_qwen

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DEFAULT_SYSTEM = "You are a helpful assistant."
"""The system turn that Qwen2.5-VL's template writes where there is none."""

BUILTIN = Path(__file__).with_name("tokenizer.json")

_END_OF_TURN = "<|im_end|>"
_START_OF_TURN = "<|im_start|>"
_PAD = "<|endoftext|>"
_VISION_START = "<|vision_start|>"
_VISION_END = "<|vision_end|>"
_IMAGE = "<|image_pad|>"
_REQUIRED = (_PAD, _START_OF_TURN, _END_OF_TURN, _VISION_START, _VISION_END, _IMAGE)
# Never a policy's to write, even where a tokenizer forgets to mark them special.
_PLACEHOLDERS = (*_REQUIRED, "<|vision_pad|>", "<|video_pad|>")


# Under Qwen's pre-tokenizer a piece may begin with a space and end with a line's end, but holds neither inside unless
# white space stands in a row. So a text without such places is the concatenation of its words, each with its space
# or end.
_UNEVEN = re.compile(r"\s\s")
_PIECES = re.compile(r" ?[^ \n]+\n?|[ \n]")


class Codec:
    """A tokenizer, and the chat layout over it.

    Attributes:
        name: what it was loaded as.
        fingerprint: sha256 of the text of the tokenizer's JSON, as 64 hex digits.
        vocab_size: one more than the largest id.
        start_of_turn_id: id of `<|im_start|>`, which begins a turn.
        end_of_turn_id: id of `<|im_end|>`, which ends a turn.
        pad_id: id of `<|endoftext|>`, which fills arrays.
        image_id: id of `<|image_pad|>`, one per picture.
        forbidden_ids: ids that a policy may never emit: all special tokens but `<|im_end|>`, and unused ids.
        action_mask: int8 (vocab_size,), 1 where a policy may emit the id; read-only.
    """

    def __init__(self, name: str, spec: str) -> None:
        """Build a codec from the text of a `tokenizer.json`.

        Args:
            name: what to call it.
            spec: the JSON text.

        Raises:
            ConfigurationError: if the text is no tokenizer, or lacks a special token of Qwen2.5-VL.
        """
        self.name = name
        self.fingerprint = hashlib.sha256(spec.encode()).hexdigest()
        self._spec = spec
        self._full, self._plain = build_tokenizers(name, spec)
        added = self._full.get_added_tokens_decoder()
        ids = {token.content: index for index, token in added.items()}
        missing = [token for token in _REQUIRED if token not in ids]
        if missing:
            raise ConfigurationError(
                f"Expected tokenizer {name!r} to have the special tokens of Qwen2.5-VL, but it lacks "
                f"{', '.join(missing)}. Choose a tokenizer of a Qwen2.5 or later model, or 'builtin'."
            )
        known = self._full.get_vocab(with_added_tokens=True).values()
        self.vocab_size = max(known) + 1
        self.start_of_turn_id = ids[_START_OF_TURN]
        self.end_of_turn_id = ids[_END_OF_TURN]
        self.pad_id = ids[_PAD]
        self.image_id = ids[_IMAGE]
        special = {index for index, token in added.items() if token.special or token.content in _PLACEHOLDERS}
        unused = set(range(self.vocab_size)).difference(known)
        self.forbidden_ids = frozenset((special | unused) - {self.end_of_turn_id})
        self.action_mask: npt.NDArray[np.int8] = np.ones(self.vocab_size, dtype=np.int8)
        self.action_mask[sorted(self.forbidden_ids)] = 0
        self.action_mask.setflags(write=False)

        # A dialect says the same few things around every result, and rollouts of one task see the same results.
        self._words = functools.lru_cache(maxsize=64)(self.encode_move)
        self._block = functools.lru_cache(maxsize=4096)(self.encode)
        self._splits_at_spaces = False
        start, newline = self.start_of_turn_id, self.encode("\n")
        self._system_start = [start]
        self._user_start = [start, *self.encode("user\n")]
        self._picture = [ids[_VISION_START], self.image_id, ids[_VISION_END]]
        self._next_turn = newline
        self._splits_at_spaces = splits_as_qwen(spec)
        # Words come back all the time, and cutting text up costs the tokenizer ten times as much as looking them up.
        self._piece = functools.lru_cache(maxsize=1 << 16)(self._encoded)
        self._to_assistant = [self.end_of_turn_id, *newline, start, *self.encode("assistant\n")]

    def __repr__(self) -> str:
        return f"Codec({self.name!r}, vocab_size={self.vocab_size}, fingerprint={self.fingerprint[:12]!r})"

    def __reduce__(self) -> tuple[type[Codec], tuple[str, str]]:
        """Pickle as name and JSON text: the two tokenizers are rebuilt from them."""
        return type(self), (self.name, self._spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> Codec:
        """Return itself: a codec never changes."""
        return self

    def encode(self, text: str) -> list[int]:
        """Encode text from anywhere: it never yields the id of an added token, whatever it holds.

        Lone surrogates, which are no Unicode text, are replaced by U+FFFD.
        """
        if self._splits_at_spaces and _UNEVEN.search(text) is None:
            ids: list[int] = []
            for piece in _PIECES.findall(text):
                ids += self._piece(piece)
            return ids
        return self._ids(self._plain, text)

    def _encoded(self, piece: str) -> tuple[int, ...]:
        return tuple(self._ids(self._plain, piece))

    def encode_move(self, text: str) -> list[int]:
        """Encode text as a policy would write it: added tokens get their ids unless they are special."""
        return self._ids(self._full, text)

    @staticmethod
    def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
        try:
            return tokenizer.encode(text, add_special_tokens=False).ids
        except (TypeError, UnicodeEncodeError):
            cleaned = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return tokenizer.encode(cleaned, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer[Any]]) -> str:
        """Return the text of `ids`, special tokens by name; bytes that are no UTF-8 become U+FFFD."""
        plain = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        return self._full.decode(plain, skip_special_tokens=False)

    def prompt_ids(self, system: str | None, prompt: str, question: str, *, images: int = 1) -> list[int]:
        """Return the ids of an episode's first two turns, up to where the policy begins to write.

        The layout is that of Qwen2.5-VL's chat template, with the pictures before the text and the question last.

        Args:
            system: the system turn, or None for Qwen's default one.
            prompt: the dialect's instructions; may be empty.
            question: the task's question, which is not trusted.
            images: how many pictures to hold a place for; one `<|image_pad|>` each.
        """
        # Borders lie behind a newline, where the pre-tokenizer splits anyhow: so the pieces are the template's ids.
        return [
            *self._system_start,
            *self.encode_move("system\n" + (DEFAULT_SYSTEM if system is None else system)),
            self.end_of_turn_id,
            *self._next_turn,
            *self._user_start,
            *(self._picture * images),
            *(self.encode_move(prompt.rstrip() + "\n") if prompt.strip() else ()),
            *self.encode(question),
            *self._to_assistant,
        ]

    def tool_turn_ids(
        self, head: str, blocks: Sequence[str], tail: str, *, budget: int
    ) -> tuple[list[int], int] | None:
        """Return the ids that follow a finished turn: a user turn of `head + blocks + tail`, and the next turn's start.

        Args:
            head: the dialect's words before the blocks.
            blocks: texts that are not trusted; dropped whole, from the end, until the rest fits.
            tail: the dialect's words after the blocks.
            budget: how many tokens there is room for.

        Returns:
            The ids and how many blocks are in them, or None if not even head and tail fit.
        """
        opening = [*self._next_turn, *self._user_start, *self._words(head)]
        closing = [*self._words(tail), *self._to_assistant]
        room = budget - len(opening) - len(closing)
        if room < 0:
            return None
        shown = 0
        for block in blocks:
            ids = self._block(block)
            if len(ids) > room:
                break
            opening += ids
            room -= len(ids)
            shown += 1
        return opening + closing, shown

    def question_ids(self, question: str, max_tokens: int) -> npt.NDArray[np.int32]:
        """Return the question's ids, int32 (max_tokens,), cut or padded with `pad_id` to that length."""
        padded = np.full(max_tokens, self.pad_id, dtype=np.int32)
        ids = self.encode(question)[:max_tokens]
        padded[: len(ids)] = ids
        return padded


def load_codec(tokenizer: str | os.PathLike[str] = "builtin") -> Codec:
    """Load a codec.

    Args:
        tokenizer: `builtin`; the path of a `tokenizer.json` or of a folder that holds one; or the id of a model on
            the Hugging Face hub.

    Raises:
        ConfigurationError: if there is no such tokenizer, or it is not one of the Qwen2.5-VL family.
    """
    if tokenizer == "builtin":
        return _load_file("builtin", BUILTIN)
    path = Path(tokenizer)
    if path.is_dir():
        path = path / "tokenizer.json"
    if path.is_file():
        return _load_file(os.fspath(tokenizer), path)
    text = os.fspath(tokenizer)
    # Every Qwen model on the hub is named owner/model: a bare word is a slip, and not worth waiting for the network.
    if not isinstance(tokenizer, str) or path.suffix == ".json" or path.is_absolute() or text.count("/") != 1:
        raise ConfigurationError(
            f"Expected tokenizer {text!r} to be a tokenizer.json or a folder that holds one, but there is no file "
            f"{os.fspath(path)!r}. Give an existing path, the id of a model on the hub, or 'builtin'."
        )
    return _load_hub(text)


def _load_file(name: str, path: Path) -> Codec:
    try:
        resolved = path.resolve(strict=True)
        stat = resolved.stat()
    except OSError as error:
        raise ConfigurationError(f"Expected a tokenizer at {os.fspath(path)!r}, but: {error}.") from error
    return _load_version(name, resolved, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=16)
def _load_version(name: str, path: Path, modified: int, size: int) -> Codec:
    # Time and size are only part of the cache's key: a file written anew is read anew.
    try:
        return Codec(name, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"Expected {os.fspath(path)!r} to be a tokenizer.json, but: {error}.") from error


@functools.lru_cache(maxsize=16)
def _load_hub(model: str) -> Codec:
    from tokenizers import Tokenizer

    try:
        spec = Tokenizer.from_pretrained(model).to_str()
    except Exception as error:
        raise ConfigurationError(
            f"Expected tokenizer {model!r} to be 'builtin', a file or folder, or a model on the Hugging Face hub. "
            f"There is no such file, and the hub said: {error}. Check the name and the connection, or download the "
            "model's tokenizer.json and give its path."
        ) from error
    return Codec(model, spec)
