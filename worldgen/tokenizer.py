"""Trains the built-in tokenizer on the text of a world: `python -m worldgen.tokenizer [WORLD_FOLDER]`.

A byte-level BPE in the form of Hugging Face's `tokenizer.json`, with Qwen2.5's pre-tokenizer and special tokens. Unlike
Qwen's it has no Unicode normaliser, so that decoding gives back exactly the text that was encoded. The same text gives
the same bytes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mmsearch_env.codec import BUILTIN
from mmsearch_env.dialects import DIALECTS, get_dialect
from mmsearch_env.errors import ActionError
from mmsearch_env.records import Answer, Hit, Move, ToolCall, ToolResult

ATLAS = Path(__file__).parents[1] / "fixtures" / "atlas"
VOCABULARY = 4096

# Name and `special` flag in Qwen2.5's own order (tokenizer_config.json of Qwen2.5-VL-7B-Instruct).
ADDED_TOKENS = (
    ("<|endoftext|>", True),
    ("<|im_start|>", True),
    ("<|im_end|>", True),
    ("<|object_ref_start|>", True),
    ("<|object_ref_end|>", True),
    ("<|box_start|>", True),
    ("<|box_end|>", True),
    ("<|quad_start|>", True),
    ("<|quad_end|>", True),
    ("<|vision_start|>", True),
    ("<|vision_end|>", True),
    ("<|vision_pad|>", True),
    ("<|image_pad|>", True),
    ("<|video_pad|>", True),
    ("<tool_call>", False),
    ("</tool_call>", False),
    ("<|fim_prefix|>", False),
    ("<|fim_middle|>", False),
    ("<|fim_suffix|>", False),
    ("<|fim_pad|>", False),
    ("<|repo_name|>", False),
    ("<|file_sep|>", False),
)

# Qwen2's: contractions, words with one leading character, single digits, punctuation, line breaks, blanks.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

REASONS = (
    "I can see what this is, but not the fact that is asked for.",
    "I do not know this element, so I search for its part of the picture.",
    "The page names it, but does not answer the question. A more specific query may.",
    "The results hold the answer.",
)
QUERIES = ("capital of Norway", "currency of the country whose flag is red and white", "highest point in metres")


def world_texts(folder: Path) -> Iterator[str]:
    """Yield the questions, answers and expressions of a world's tasks, and its documents."""
    for name, keys in (
        ("documents.jsonl", ("title", "text", "url")),
        ("tasks.jsonl", ("question", "expression", "answers")),
        ("images.jsonl", ("title",)),
    ):
        path = folder / name
        if not path.is_file():
            continue
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                for key in keys:
                    value = row.get(key) or ""
                    yield from [value] if isinstance(value, str) else value


def dialect_texts() -> Iterator[str]:
    """Yield the bundled dialects' prompts, and moves and tool turns as they are written in each."""
    moves: list[Move] = [ToolCall("image_search"), ToolCall("image_search", {"expression": "the flag on the left"})]
    moves.append(ToolCall("image_search", {"box": [12, 34, 156, 178]}))
    moves += [ToolCall("text_search", {"query": query}) for query in QUERIES]
    moves += [Answer("Oslo"), Answer("Unable to answer due to lack of relevant information")]
    hit = Hit("page-1", "Norway", "https://atlas.example/norway", "The capital is Oslo.", 1.0, "text_index")
    for name in DIALECTS:
        dialect = get_dialect(name)
        for prompts in ("full", "short"):
            yield dialect.prompt(prompts)
            for call in (move for move in moves if isinstance(move, ToolCall)):
                for error in (None, "Expected a text search, got an image search."):
                    result = ToolResult(call=call, hits=(hit,), blocks=("Oslo is the capital.",), error=error)
                    turn = dialect.tool_turn(result, "What is the capital?", prompts)
                    yield turn.head + "".join(turn.blocks) + turn.tail
        for move in moves:
            for reason in REASONS:
                try:
                    yield dialect.render(move, reason)
                except ActionError:  # not every dialect can say everything
                    continue


def train(texts: Iterable[str], weighted: Sequence[str] = ()) -> str:
    """Return the JSON text of a tokenizer trained on `texts`.

    Args:
        texts: taken once per distinct line, in sorted order, so that repeated boilerplate does not fill the vocabulary.
        weighted: texts taken a hundred times, for words that a policy writes in every turn.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(ADDED_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    lines = sorted({line for text in texts for line in text.splitlines(keepends=True)})
    lines += sorted({line for text in weighted for line in text.splitlines(keepends=True)}) * 100
    tokenizer.train_from_iterator(lines, trainer)
    spec = json.loads(tokenizer.to_str())
    size = len(spec["model"]["vocab"])
    spec["added_tokens"] = [
        {
            "id": size + index,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": special,
        }
        for index, (content, special) in enumerate(ADDED_TOKENS)
    ]
    return json.dumps(spec, ensure_ascii=False, indent=0, separators=(",", ":")) + "\n"


def main() -> None:
    """Train on a world and write the tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("world", nargs="?", type=Path, default=ATLAS, help="a world's folder")
    parser.add_argument("--out", type=Path, default=BUILTIN, help="where to write (default: into the package)")
    arguments = parser.parse_args()
    if not (arguments.world / "documents.jsonl").is_file():
        parser.error(f"Expected a world's folder with documents.jsonl, got {arguments.world}. Build the world first.")
    text = train(world_texts(arguments.world), weighted=list(dialect_texts()))
    arguments.out.write_text(text, encoding="utf-8")
    print(f"{arguments.out}: {len(json.loads(text)['model']['vocab']) + len(ADDED_TOKENS)} entries")


if __name__ == "__main__":
    main()
