"""Agents by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from mmsearch_agents.learner import Learner
from mmsearch_agents.scripted import STRATEGIES, ScriptedLearner, make_strategy
from mmsearch_agents.scripted.oracle import check_plans
from mmsearch_agents.shipped import POLICIES, policy_folder
from mmsearch_env.codec import Codec
from mmsearch_env.errors import ConfigurationError, missing_extra, unknown
from mmsearch_env.stage import Stage

AGENTS = tuple(STRATEGIES)
"""Names of the scripted agents; those of the policies that come with the library are `shipped.POLICIES`."""


def _load_scripted(folder: Path, codec: Codec, seed: int) -> Learner:
    return ScriptedLearner.load(folder)


def _load_sb3(folder: Path, codec: Codec, seed: int) -> Learner:
    from mmsearch_agents.sb3 import SB3Learner

    return SB3Learner.load(folder)


def _load_grpo(folder: Path, codec: Codec, seed: int) -> Learner:
    with _extra_agents():
        from mmsearch_agents.grpo import GRPOLearner
    return GRPOLearner.load(folder, codec=codec)


def _load_sft(folder: Path, codec: Codec, seed: int) -> Learner:
    with _extra_agents():
        from mmsearch_agents.sft import SFTLearner
    return SFTLearner.load(folder, codec=codec)


def _load_policy(folder: Path, codec: Codec, seed: int) -> Learner:
    with _extra_agents():
        from mmsearch_agents.policy import QwenPolicy
        from mmsearch_agents.sft import SFTLearner
    return SFTLearner(QwenPolicy.load(folder, codec=codec, seed=seed))


def _load_vllm(folder: Path, codec: Codec, seed: int) -> Learner:
    from mmsearch_agents.vllm import VLLMPolicy

    return VLLMPolicy.load(folder, codec=codec)


@contextmanager
def _extra_agents() -> Iterator[None]:
    """Name the extra to install where a package is missing; only who loads such a learner needs them."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing_extra(str(error.name), "agents") from error


_LOADERS: dict[str, Callable[[Path, Codec, int], Learner]] = {
    "scripted.json": _load_scripted,
    "sb3.json": _load_sb3,
    "grpo.json": _load_grpo,
    "sft.json": _load_sft,
    "vllm.json": _load_vllm,
    "policy.json": _load_policy,  # a policy alone; it stands beside the two above as well
}
"""By the file that tells what a folder holds: how to load the learner saved in it, given tokenizer and seed."""


def make_learner(agent: str | os.PathLike[str], env: Any, *, seed: int = 0) -> Learner:
    """Return an agent by name, or the one saved in a folder.

    Args:
        agent: one of `AGENTS` or of `POLICIES`, or the path of a folder that a learner's or a policy's `save` wrote.
        env: the environment that it will act in, single, vector or wrapped; scripted agents take its codec, dialect and
            the questions of its training split from it. What a policy was trained for is told by `trained_for`.
        seed: of agents that choose at random, and of sampling where a policy alone was saved.

    Raises:
        ConfigurationError: if there is no such agent, it was trained with another tokenizer than the environment's, or
            it is the oracle and no task says what to ask.
        MissingExtraError: if the packages that it needs are not installed.
    """
    stage = cast(Stage, env.unwrapped.stage)
    if str(agent) == "oracle":
        check_plans(stage.tasks, stage.world.name)
    if str(agent) in STRATEGIES:
        return ScriptedLearner(make_strategy(str(agent), stage.world, seed=seed), stage.codec, stage.rules.dialect)
    folder = policy_folder(agent)
    for marker, load in _LOADERS.items():
        if (folder / marker).exists():
            return load(folder, stage.codec, seed)
    if folder.is_dir():
        raise ConfigurationError(
            f"Expected the folder {os.fspath(folder)!r} to be what a learner's or a policy's `save` wrote, but it "
            f"holds none of {', '.join(_LOADERS)}. A run of the examples leaves its policy in `policy` below it."
        )
    known = unknown("agent", str(agent), (*AGENTS, *POLICIES))
    raise ConfigurationError(f"{known} A saved one is given as the path of the folder that it was saved to.")
