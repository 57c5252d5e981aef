"""What an episode looks like: a frame, a text, or a coloured text on the terminal."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmsearch_env.records import Box, Pixels, Turn

if TYPE_CHECKING:
    from mmsearch_env.episode import Episode

FRAME_SIZE = (960, 540)
"""Width and height of a frame in pixels."""

_MARGIN = 16
_PICTURE = (440, 400)
_INK = (28, 32, 38)
_FAINT = (120, 126, 134)
_PAPER = (250, 249, 246)
_COLOURS = {
    "text_search": (32, 88, 168),
    "image_search": (142, 68, 173),
    "answer": (22, 128, 72),
    "malformed": (178, 44, 44),
    "truncated": (178, 44, 44),
}


def draw_frame(episode: Episode) -> Pixels:
    """Draw the picture with the boxes searched, the turns and the reward, uint8 (540, 960, 3)."""
    frame = Image.new("RGB", FRAME_SIZE, _PAPER)
    canvas = ImageDraw.Draw(frame)
    small, normal = ImageFont.load_default(13), ImageFont.load_default(15)
    _paste_picture(frame, canvas, episode)
    y = _MARGIN + _PICTURE[1] + 10
    for line in textwrap.wrap(episode.task.question, 58)[:3]:
        canvas.text((_MARGIN, y), line, _INK, normal)
        y += 20
    length, limit = int(episode.context.length[0]), episode.rules.max_tokens
    canvas.text((_MARGIN, FRAME_SIZE[1] - 24), f"{length} / {limit} tokens", _FAINT, small)
    _draw_turns(canvas, episode, small)
    return np.asarray(frame)


def _paste_picture(frame: Image.Image, canvas: ImageDraw.ImageDraw, episode: Episode) -> None:
    pixels = episode.picture.pixels
    scale = min(_PICTURE[0] / pixels.shape[1], _PICTURE[1] / pixels.shape[0])
    size = (max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1))
    left, top = _MARGIN + (_PICTURE[0] - size[0]) // 2, _MARGIN + (_PICTURE[1] - size[1]) // 2
    frame.paste(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR), (left, top))
    for turn in episode.turns:
        if turn.box is not None:
            corners = [left + turn.box.left * scale, top + turn.box.top * scale]
            corners += [left + turn.box.right * scale, top + turn.box.bottom * scale]
            canvas.rectangle(corners, outline=(255, 255, 255), width=5)
            canvas.rectangle(corners, outline=_COLOURS["image_search"], width=3)


def _draw_turns(
    canvas: ImageDraw.ImageDraw, episode: Episode, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    left, bottom = _PICTURE[0] + 3 * _MARGIN, FRAME_SIZE[1] - 40
    lines: list[tuple[str, tuple[int, int, int], int]] = []
    for turn in episode.turns:
        colour = _COLOURS.get(turn.kind, _INK)
        lines.append((headline(turn), colour, 0))
        if turn.error:
            lines += [(line, _COLOURS["malformed"], 14) for line in textwrap.wrap(turn.error, 62)[:2]]
        lines += [(f"{rank}. {_title(episode, hit)}", _FAINT, 14) for rank, hit in enumerate(turn.hits, start=1)]
    if not episode.over:
        spoken = spoken_so_far(episode)
        lines += [(line, _INK, 0) for line in textwrap.wrap(spoken, 64)]
    room = (bottom - _MARGIN) // 18
    y = _MARGIN
    if len(lines) > room:
        canvas.text((left, y), "…", _FAINT, font)
        lines, y = lines[-(room - 1) :], y + 18
    for text, colour, indent in lines:
        canvas.text((left + indent, y), text[:72], colour, font)
        y += 18
    if episode.outcome is not None:
        terms = ", ".join(f"{name} {value:g}" for name, value in episode.outcome.terms.items())
        right = episode.outcome.reward > 0.5
        text = f"reward {episode.outcome.reward:g}" + (f"   ({terms})" if terms else "")
        canvas.text((left, bottom + 14), text, _COLOURS["answer" if right else "malformed"], ImageFont.load_default(17))


def _title(episode: Episode, document_id: str) -> str:
    document = episode.rules.toolbox.documents.get(document_id)
    return document_id if document is None else document.title


def headline(turn: Turn) -> str:
    """Say in one line what a turn did."""
    arguments = turn.arguments
    if turn.kind == "text_search":
        return f"text search: {arguments['query']}"
    if turn.kind == "image_search":
        if "expression" in arguments:
            return f"image search: {arguments['expression']}"
        return f"image search: {list(arguments['box'])}" if "box" in arguments else "image search: whole picture"
    if turn.kind == "answer":
        return f"answer: {arguments['answer']}"
    return f"{turn.kind} turn"


def spoken_so_far(episode: Episode) -> str:
    """Decode the unfinished turn."""
    context = episode.context
    start = episode.turns[-1].end + episode.turns[-1].appended if episode.turns else episode.prompt_length
    return episode.rules.codec.decode(context.tokens[start : int(context.length[0])].tolist())


def episode_text(episode: Episode) -> str:
    """Write the whole context as text, with the end of the episode below."""
    context = episode.context
    text = episode.rules.codec.decode(context.tokens[: int(context.length[0])].tolist())
    if episode.outcome is None:
        return text
    ending = "terminated" if episode.terminated else f"truncated ({episode.cause})"
    terms = ", ".join(f"{name}={value:g}" for name, value in episode.outcome.terms.items())
    return f"{text}\n[{ending}; reward {episode.outcome.reward:g}; {terms}]"


def print_episode(episode: Episode) -> None:
    """Print what is new on the terminal: the question at the start, then each finished turn, then the reward."""
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    if not episode.turns:
        console.rule(escape(episode.task.id))
        console.print(f"[bold]{escape(episode.task.question)}[/bold]")
        return
    turn = episode.turns[-1]
    red, green, blue = _COLOURS.get(turn.kind, _INK)
    console.print(f"[rgb({red},{green},{blue})]{escape(headline(turn))}[/]")
    if turn.error:
        console.print(f"   [red]{escape(turn.error)}[/red]")
    for rank, hit in enumerate(turn.hits, start=1):
        console.print(f"   [dim]{rank}. {escape(_title(episode, hit))}[/dim]")
    if episode.outcome is not None:
        console.print(f"[bold]reward {episode.outcome.reward:g}[/bold]")


def half_blocks(pixels: Pixels, columns: int, box: Box | None = None) -> str:
    """Draw a picture for a terminal with 24-bit colour: two pixels a character, as an ANSI-coloured text.

    Args:
        pixels: uint8 (height, width, 3).
        columns: width of the text in characters.
        box: drawn as a frame if given.
    """
    rows = max(round(pixels.shape[0] * columns / pixels.shape[1] / 2), 1) * 2
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if box is not None:
        image = image.copy()
        ImageDraw.Draw(image).rectangle(
            (box.left, box.top, box.right - 1, box.bottom - 1), outline=(255, 0, 160), width=4
        )
    small = np.asarray(image.resize((columns, rows), Image.Resampling.BOX))
    lines = []
    for upper, lower in zip(small[0::2], small[1::2], strict=True):
        cells = (
            f"\x1b[38;2;{up[0]};{up[1]};{up[2]}m\x1b[48;2;{low[0]};{low[1]};{low[2]}m▀"
            for up, low in zip(upper.tolist(), lower.tolist(), strict=True)
        )
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)
