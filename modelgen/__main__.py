"""Makes the tiny policies: `python -m modelgen base FOLDER`, then `sft BASE FOLDER`, then `grpo SFT FOLDER`.

Policies are left in FOLDER/policy, logs beside them; `ship RUNS` copies those of RUNS/base, RUNS/sft and RUNS/grpo-0
to fixtures/models. `torchrun --nproc-per-node 2 -m modelgen base FOLDER` takes two processes. `base` and `grpo` go on
from their checkpoints when they are started again.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from modelgen import finetuning, keeping, pretraining, reinforcing


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(prog="python -m modelgen", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True)
    _add(stages, "base", pretraining.Settings)
    for name, settings in (("sft", finetuning.Settings), ("grpo", reinforcing.Settings)):
        _add(stages, name, settings, start=True)
    shipping = stages.add_parser("ship")
    shipping.add_argument("runs", type=Path)
    shipping.add_argument("out", type=Path, nargs="?", default=Path("fixtures/models"))
    given = vars(parser.parse_args())
    if given["stage"] == "ship":
        keeping.ship(given["runs"], given["out"])
        return
    stage, folder, threads = given.pop("stage"), given.pop("folder"), given.pop("threads")
    torch.set_num_threads(threads)
    if stage == "base":
        pretraining.pretrain(folder, pretraining.Settings(**given))
    elif stage == "sft":
        finetuning.finetune(given.pop("start"), folder, finetuning.Settings(**given))
    else:
        reinforcing.reinforce(given.pop("start"), folder, reinforcing.Settings(**given))


def _add(stages: Any, name: str, settings: type, *, start: bool = False) -> None:
    stage = stages.add_parser(name)
    if start:
        stage.add_argument("start", type=Path, help="folder of the policy to start from")
    stage.add_argument("folder", type=Path, help="gets policy/ and the logs")
    stage.add_argument("--threads", type=int, default=1, help="of torch, in each process")
    for field in fields(settings):
        kind: dict[str, Any] = {"type": type(field.default), "default": field.default}
        stage.add_argument(
            f"--{field.name.replace('_', '-')}", **({"action": "store_true"} if field.default is False else kind)
        )


if __name__ == "__main__":
    main()
