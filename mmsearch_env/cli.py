"""The command line `mmsearch`.

Other packages add commands through the entry point group `mmsearch.commands`; they are loaded when they are called, so
that the core depends on none of them.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mmsearch_env.errors import ConfigurationError, MissingExtraError, MMSearchError, WorldError
from mmsearch_env.version import __version__

if TYPE_CHECKING:
    from mmsearch_env.worlds import World

PLUGINS = "mmsearch.commands"
"""The entry point group of further commands: name -> function, written as a Typer command."""

FAILURE, USAGE = 1, 2
"""Exit codes: something failed; something asked for does not exist or does not fit."""


def _plugins() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=PLUGINS)}


def _unavailable(entry: EntryPoint, cause: ImportError) -> Callable[[], None]:
    """Return a command in the place of one that cannot be imported, so that all others still work."""

    def command() -> None:
        raise MissingExtraError(f"Expected {entry.value} to provide the command {entry.name!r}, but: {cause}.")

    command.__doc__ = f"Not available: {cause}."
    return command


class CommandGroup(TyperGroup):
    """The commands of this module and of the entry points; reports the library's errors without a traceback."""

    # Contexts and commands are Any: newer releases of Typer carry a Click of their own.

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, in alphabetical order."""
        return sorted({*super().list_commands(ctx), *_plugins()})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, loaded from its entry point if it is not one of this module."""
        own = super().get_command(ctx, cmd_name)
        entry = _plugins().get(cmd_name)
        if own is not None or entry is None:
            return own
        single = typer.Typer(rich_markup_mode=None, add_completion=False)
        try:
            single.command(cmd_name)(entry.load())
        except ImportError as error:
            anything = {"ignore_unknown_options": True, "allow_extra_args": True}
            single.command(cmd_name, context_settings=anything)(_unavailable(entry, error))
        command = typer.main.get_command(single)
        command.name = cmd_name
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an `MMSearchError` becomes a message on standard error and an exit code."""
        try:
            return super().invoke(ctx)
        except MMSearchError as error:
            typer.echo(f"Error: {error}", err=True)
            usage = isinstance(error, ConfigurationError | MissingExtraError)
            raise typer.Exit(USAGE if usage else FAILURE) from error
        except BrokenPipeError:
            raise  # the reader of a pipe left; Typer ends quietly then
        except OSError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(FAILURE) from error


app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def open_world(world: str) -> World:
    """Load the world that a command was given.

    Raises:
        ConfigurationError: if there is no such world.
        WorldError: if it is damaged.
    """
    from mmsearch_env.paths import bundled
    from mmsearch_env.worlds import load_world

    try:
        return load_world(world)
    except WorldError as error:
        if Path(world).expanduser().is_dir() or bundled(world).is_dir():
            raise
        raise ConfigurationError(str(error)) from error


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"mmsearch {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Multimodal search agents in worlds that are answered offline."""


@app.command()
def worlds(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the bundled worlds, with what they hold."""
    from mmsearch_env.worlds import list_worlds

    found = list_worlds()
    if as_json:
        rows = [
            {
                "name": info.name,
                "version": info.version,
                "title": info.title,
                "path": str(info.path),
                "counts": dict(info.counts),
                "splits": dict(info.splits),
            }
            for info in found
        ]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for info in found:
        typer.echo(f"{info.name} {info.version}: {info.title}")
        typer.echo("  " + ", ".join(f"{count:,} {name}" for name, count in info.counts.items()))
        typer.echo("  tasks: " + ", ".join(f"{split} {count:,}" for split, count in info.splits.items()))
    if not found:
        typer.echo("No world is bundled with this installation.")


@app.command()
def verify(
    path: Annotated[str, typer.Argument(help="Folder of a world, or name of a bundled one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a world: files, hashes, rows, references, pictures, boxes, splits, licences.

    Exits with 0 if all is well, with 1 if not, and then names every problem as file:line: message.
    """
    from mmsearch_env.paths import bundled
    from mmsearch_env.worlds import verify_world

    folder = Path(path).expanduser()
    if not folder.is_dir() and Path(path).name == path:
        folder = bundled(path)
    if not folder.is_dir():
        raise ConfigurationError(f"Expected the folder of a world, got {path!r}, which is none. See `mmsearch worlds`.")
    problems = verify_world(folder)
    if as_json:
        rows = [{"file": one.file, "line": one.line, "message": one.message} for one in problems]
        typer.echo(json.dumps({"path": path, "ok": not problems, "problems": rows}, indent=2, ensure_ascii=False))
    elif problems:
        for one in problems:
            where = one.file if one.line is None else f"{one.file}:{one.line}"
            typer.echo(f"{where}: {one.message}")
        typer.echo(f"{path}: {len(problems)} problem{'s' if len(problems) > 1 else ''}", err=True)
    else:
        typer.echo(f"{path}: ok")
    if problems:
        raise typer.Exit(FAILURE)


@app.command()
def play(
    world: Annotated[str, typer.Option(help="Name of a bundled world, or path of a world's folder.")] = "atlas",
    split: Annotated[
        str, typer.Option(help="Which tasks to draw from: train, validation, test, ood, or all.")
    ] = "test",
    task: Annotated[str | None, typer.Option(help="Id of a task, of any split.", show_default="one is drawn")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Fixes which task is drawn.", show_default="chance")] = None,
    dialect: Annotated[str, typer.Option(help="Language of the turns.")] = "deepmmsearch_r1",
) -> None:
    """Play an episode yourself, in the terminal.

    Search with `t QUERY` (text), `i` (the whole picture) or `i EXPRESSION` (a region of it), answer with `a ANSWER`, or
    write a raw turn of the dialect. `q` leaves.
    """
    from rich.console import Console

    from mmsearch_env.env import MMSearchEnv
    from mmsearch_env.play import play_episode, read_lines

    drawn_from = None if task is not None or split == "all" else split
    env = MMSearchEnv(world=open_world(world), split=drawn_from, dialect=dialect)
    env.reset(seed=seed, options={"task_id": task} if task is not None else None)
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a byte or a character that the terminal cannot show ends no episode
    console = Console(highlight=False)
    play_episode(env.episode, read_lines(sys.stdin, console), console)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders that `mmsearch eval` wrote.")],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("report.html"),
    world: Annotated[
        str | None, typer.Option(help="The world played, for the titles of pages.", show_default="the bundled one")
    ] = None,
    episodes: Annotated[int, typer.Option(min=0, help="How many episodes to show.")] = 10,
) -> None:
    """Show evaluations on one HTML page that needs nothing else: a table of agents, and episodes."""
    from mmsearch_env.report import load_run, write_report

    write_report(
        out,
        [load_run(folder) for folder in runs],
        world=None if world is None else open_world(world),
        episodes=episodes,
    )
    typer.echo(f"Written to {out}")


def main() -> None:
    """Run the command line."""
    app(prog_name="mmsearch")
