"""Policies that come with the library, and the environments that policies were trained for.

A policy plays well only in the language, with the prompts and with as many results as it was trained with. So beside
the weights stands `environment.json`: keywords of the environment, as `write_environment` puts them there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmsearch_agents.scripted import STRATEGIES
from mmsearch_env.errors import ConfigurationError, unknown
from mmsearch_env.paths import bundled
from mmsearch_env.stage import Stage

POLICIES = ("tiny-base", "tiny-sft", "tiny-grpo")
"""Names of the policies that come with the library; they need the extra `agents`."""

FILE = "environment.json"
# What a folder that somebody else made may decide; nothing that opens a file, asks the web or costs anything.
_OPTIONS: Mapping[str, type] = {
    "world": str,
    "dialect": str,
    "prompts": str,
    "on_miss": str,
    "top_k": int,
    "max_tokens": int,
}


def policy_folder(agent: str | os.PathLike[str]) -> Path:
    """Return the folder of a policy, for `QwenPolicy.load`.

    Args:
        agent: one of `POLICIES`, or the path of a folder, which is returned as it is (`./tiny-sft` for one so named).

    Raises:
        ConfigurationError: if it is a name, and this copy of the library came without that policy.
    """
    if str(agent) not in POLICIES:
        return Path(agent)
    folder = bundled("models", str(agent))
    if not (folder / "policy.json").is_file():
        raise ConfigurationError(
            f"Expected the policy {str(agent)!r} in {os.fspath(folder)!r}, which does not hold it: this copy of "
            "mmsearch-env came without. Install it from a release, or train one with examples/train_sft.py."
        )
    return folder


def trained_for(agent: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the keywords of the environment that an agent was trained for.

        envs = MMSearchVectorEnv(8, split="test", **trained_for("tiny-sft"))

    Args:
        agent: the name of an agent, or the path of a saved one.

    Returns:
        `tokenizer` for a policy, and what its `environment.json` says of `world`, `dialect`, `prompts`, `on_miss`,
        `top_k` and `max_tokens`; empty for agents that play anywhere.

    Raises:
        ConfigurationError: if the files cannot be read, or name options that there are not.
    """
    if str(agent) in STRATEGIES:  # also where a folder is called so
        return {}
    folder = policy_folder(agent)
    options: dict[str, Any] = {}
    if (folder / "policy.json").is_file():
        options["tokenizer"] = _read(folder / "policy.json").get("tokenizer", "builtin")
    if (folder / FILE).is_file():
        options |= _checked(_read(folder / FILE), os.fspath(folder / FILE))
    return options


def environment_of(stage: Stage) -> dict[str, Any]:
    """Return the keywords that an environment was made with, as `write_environment` takes them."""
    world, settings = stage.world.path, stage.rules.settings
    world, own = world.resolve(), bundled(world.name).resolve()
    name = world.name if world == own else os.fspath(world)
    return {"world": name, **{option: settings[option] for option in _OPTIONS if option != "world"}}


def write_environment(folder: str | os.PathLike[str], options: Mapping[str, Any]) -> None:
    """Note in the folder of a policy what environment it was trained for.

    Args:
        folder: of the policy; saving the policy there again removes the note.
        options: keywords of the environment, as `trained_for` and `environment_of` return them; the tokenizer is in
            `policy.json` already.

    Raises:
        ConfigurationError: if one of them cannot be noted.
    """
    path = Path(folder) / FILE
    noted = _checked({name: value for name, value in options.items() if name != "tokenizer"}, os.fspath(path))
    path.write_text(json.dumps(noted, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"a JSON {type(content).__name__} is no object")
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"Expected a JSON object in {os.fspath(path)!r}, but: {error}.") from error
    return content


def _checked(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    for name, value in options.items():
        if name not in _OPTIONS:
            raise ConfigurationError(f"{where}: {unknown('the option', name, _OPTIONS)}")
        if not isinstance(value, _OPTIONS[name]) or isinstance(value, bool):
            kind = "text" if _OPTIONS[name] is str else "a whole number"
            raise ConfigurationError(f"{where}: Expected {name} to be {kind}, got {value!r}.")
    return dict(options)
