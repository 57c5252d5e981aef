"""Finding a world by name or path."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmsearch_env.errors import ConfigurationError, WorldError, unknown
from mmsearch_env.paths import bundled
from mmsearch_env.worlds.manifest import MANIFEST, refuse
from mmsearch_env.worlds.verifying import verify_world
from mmsearch_env.worlds.world import World


@dataclass(frozen=True, slots=True)
class WorldInfo:
    """What there is to say about a bundled world without reading more than its manifest.

    Attributes:
        name: the name to load it by.
        version: its version.
        path: its folder.
        counts: how many `tasks`, `documents`, `pictures`, `images` and `recordings` it has.
        splits: how many tasks each split has.
        title: one line about it.
    """

    name: str
    version: str
    path: Path
    counts: Mapping[str, int]
    splits: Mapping[str, int]
    title: str


def list_worlds() -> list[WorldInfo]:
    """Return the bundled worlds, by name.

    Raises:
        WorldError: if one of them is broken.
    """
    root = bundled()
    paths = sorted(path.parent for path in root.glob(f"*/{MANIFEST}")) if root.is_dir() else []
    return [_info(World(path)) for path in paths]


def _info(world: World) -> WorldInfo:
    counts, splits = dict(world.manifest["counts"]), dict(world.manifest["splits"])
    title = world.manifest.get("title") or world.name
    return WorldInfo(world.path.name, world.version, world.path, counts, splits, title)


def load_world(world: str | os.PathLike[str] | World, *, check: Literal["lazy", "full"] = "lazy") -> World:
    """Load a world.

    Args:
        world: the name of a bundled world, the path of a world's folder, or a loaded world, which is returned as it is.
            A bundled name wins over a folder of that name here; write `./atlas` for the folder.
        check: `"lazy"` compares each file with its hash when it is first used, `"full"` checks everything now.

    Raises:
        ConfigurationError: if `check` has another value.
        WorldError: if there is no such world, or it is broken.
    """
    if check not in ("lazy", "full"):
        raise ConfigurationError(unknown("check", check, ("lazy", "full")))
    loaded = world if isinstance(world, World) else World(_find(world))
    if check == "full":
        refuse(loaded.path, verify_world(loaded.path))
    return loaded


def _find(world: str | os.PathLike[str]) -> Path:
    path = Path(world).expanduser()
    is_name = isinstance(world, str) and world and not any(mark in world for mark in ("/", os.sep, ".."))
    if is_name and bundled(str(world), MANIFEST).is_file():
        return bundled(str(world))
    if path.is_dir() and str(world):
        return path
    known = [info.name for info in list_worlds()]
    if is_name:
        raise WorldError(f"{unknown('world', world, known)} A world elsewhere is given as the path of its folder.")
    raise WorldError(
        f"Expected the folder of a world, got {os.fspath(world)!r}, which is none. Bundled worlds: {', '.join(known)}."
    )
