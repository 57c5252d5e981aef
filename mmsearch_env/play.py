"""A person plays an episode in the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from mmsearch_env.dialects.dialect import Dialect
from mmsearch_env.dialects.tags import region
from mmsearch_env.episode import Episode
from mmsearch_env.errors import ActionError
from mmsearch_env.records import Answer, Box, Move, ToolCall, Turn
from mmsearch_env.render import half_blocks, headline

HELP = """\
t QUERY        search the pages for a text
i              search with the whole picture
i EXPRESSION   search with a region of it, e.g. `i the left flag` or `i [10,20,200,180]`
a ANSWER       answer, which ends the episode
q              leave
<…> or {…}     a raw turn, as the dialect writes it"""

_REASON = "A person decided this."
_CONTROL = re.compile(r"<\|im_(?:start|end)\|>(?:user|assistant)?\n?")
_WIDEST = 100


def read_lines(stream: TextIO, console: Console) -> Iterator[str]:
    """Yield the lines of `stream`, with a prompt if a person types them, else printed as they are read."""
    if stream.isatty():
        while True:
            try:
                yield console.input("[bold]> [/bold]")
            except EOFError:
                return
    for line in stream:
        console.print(Text(f"> {line.rstrip()}"))
        yield line


def play_episode(episode: Episode, lines: Iterable[str], console: Console) -> None:
    """Play `episode` with the commands in `lines` (see `HELP`) until it is over or the lines are.

    Args:
        episode: an episode that has just begun.
        lines: what the person types.
        console: where everything is shown; pictures only if it is a terminal with colours.
    """
    dialect = episode.rules.dialect
    show_picture(episode, console)
    console.print(f"[bold]{escape(episode.task.question)}[/bold]   [dim]{escape(episode.task.id)}[/dim]")
    console.print(Text(HELP, style="dim"))
    for line in lines:
        if not line.strip():
            continue
        if line.strip() == "q":
            break
        try:
            text = turn_text(line.strip(), dialect)
        except ActionError as error:
            console.print(Text(str(error), style="yellow"))
            continue
        take_turn(episode, text)
        show_turn(episode, episode.turns[-1], console)
        if episode.over:
            show_end(episode, console)
            return
    console.print("Left before the end: no reward.")


def turn_text(line: str, dialect: Dialect) -> str:
    """Return the turn that a command stands for.

    Raises:
        ActionError: if there is no such command, or the dialect cannot express it.
    """
    if line.startswith(("<", "{")):
        return line
    return dialect.render(_move(line), _REASON)


def _move(line: str) -> Move:
    command, _, rest = line.partition(" ")
    rest = rest.strip()
    if command == "i":
        return ToolCall("image_search", (region(rest) or {"expression": rest}) if rest else {})
    if command == "t" and rest:
        return ToolCall("text_search", {"query": rest})
    if command == "a" and rest:
        return Answer(rest)
    raise ActionError(f"Expected one of these, got {line!r}:\n{HELP}")


def take_turn(episode: Episode, text: str) -> None:
    """Append a whole turn to the episode, id by id, as a policy would.

    Raises:
        BackendError: if a backend fails and the environment raises it.
    """
    codec = episode.rules.codec
    for token_id in [*codec.encode_move(text), codec.end_of_turn_id]:
        if not episode.over:
            episode.append(token_id)


def show_picture(episode: Episode, console: Console, box: Box | None = None) -> None:
    """Draw the picture in half blocks, or name its size where there are no colours."""
    pixels = episode.picture.pixels
    if console.is_terminal and console.color_system in ("truecolor", "256"):
        columns = min(console.width - 1, _WIDEST, pixels.shape[1])
        console.print(Text.from_ansi(half_blocks(pixels, columns, box)))
    elif box is None:
        console.print(f"(a picture of {pixels.shape[1]} × {pixels.shape[0]} pixels)", markup=False)


def show_turn(episode: Episode, turn: Turn, console: Console) -> None:
    """Print what a turn did and what the environment told the policy."""
    console.print(Text(headline(turn), style="bold cyan"))
    if turn.box is not None:
        show_picture(episode, console, turn.box)
        console.print(Text(f"(searched the region {turn.box.as_list()})", style="dim"))
    if turn.appended:
        told = episode.rules.codec.decode(episode.context.tokens[turn.end : turn.end + turn.appended].tolist())
        console.print(Text(_CONTROL.sub("", told).strip()))
    elif turn.error:
        console.print(Text(turn.error, style="red"))


def show_end(episode: Episode, console: Console) -> None:
    """Print how the episode ended: the reward, its terms and the accepted answers."""
    if episode.outcome is None:
        return
    if episode.truncated:
        console.print(Text(f"The episode was cut off: {episode.cause}.", style="yellow"))
    terms = ", ".join(f"{name} {value:g}" for name, value in episode.outcome.terms.items())
    console.print(f"[bold]reward {episode.outcome.reward:g}[/bold]" + (f"   ({escape(terms)})" if terms else ""))
    console.print(Text(f"accepted: {' | '.join(episode.task.answers)}"))
