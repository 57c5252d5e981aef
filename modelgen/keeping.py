"""Writing the tiny policies down: small, and with the environment that they were trained for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mmsearch_agents.policy import QwenPolicy
from mmsearch_agents.shipped import write_environment
from mmsearch_env.errors import ConfigurationError
from modelgen.dialogues import ENVIRONMENT

_SHIPPED = {
    "tiny-base": ("base", "log.jsonl"),
    "tiny-sft": ("sft", "metrics.jsonl"),
    "tiny-grpo": ("grpo-0", "metrics.jsonl"),
}
"""Name of a policy -> the folder of its run, and the log in it."""


def keep(policy: QwenPolicy, folder: Path) -> None:
    """Save `policy` in half precision, which halves the file; its own weights are rounded as well.

    The next stage of training and every evaluation load what was written, so what is measured is what is shipped.
    """
    policy.model.half()
    policy.forget()
    policy.save(folder)
    write_environment(folder, ENVIRONMENT)


def ship(runs: Path, out: Path) -> None:
    """Copy the policies of finished runs to where the library looks for them, each with the log of its training.

    Args:
        runs: holds the folders `base`, `sft` and `grpo-0`.
        out: gets a folder per policy; one that is there is replaced.

    Raises:
        ConfigurationError: if a run is not finished; nothing is replaced then.
    """
    for run, log in _SHIPPED.values():
        for needed in (runs / run / "policy" / "policy.json", runs / run / log):
            if not needed.is_file():
                raise ConfigurationError(
                    f"Expected the finished run {run!r} in {os.fspath(runs)!r}, but there is no "
                    f"{os.fspath(needed.relative_to(runs))}. Train it with `python -m modelgen` first."
                )
    for name, (run, log) in _SHIPPED.items():
        shutil.rmtree(out / name, ignore_errors=True)
        shutil.copytree(runs / run / "policy", out / name)
        shutil.copyfile(runs / run / log, out / name / "training.jsonl")
        (out / name / "model.safetensors").chmod(0o644)  # safetensors lets nobody else read what it writes
