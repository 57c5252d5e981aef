"""What docs/reproducing.md computes and commands fits the presets and the examples."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the extra `agents` is not installed")
pytest.importorskip("transformers", reason="the extra `agents` is not installed")

from mmsearch_agents.presets import GRPO_PRESETS, SFT_PRESETS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reproducing.md").read_text("utf-8")
RESULTS = ROOT / "benchmarks" / "results"


def commands():
    """Yield the examples that the page runs: name and words."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL):
        for line in re.split(r"\n|&&", block.replace("\\\n", " ")):
            found = re.search(r"examples/(\w+)\.py(.*)", line)
            if found:
                yield found.group(1), shlex.split(found.group(2))


def test_every_option_that_is_shown_is_one():
    shown = list(commands())
    assert {name for name, _ in shown} == {"train_sft", "train_grpo", "evaluate"}
    for name, words in shown:
        known = {one.name: one for one in fields(importlib.import_module(f"examples.{name}").Config)}
        given = dict(zip(words[::2], words[1::2], strict=True))
        for flag in given:
            assert flag.removeprefix("--").replace("-", "_") in known, f"{name} {flag}"
        presets = SFT_PRESETS if name == "train_sft" else GRPO_PRESETS
        assert given.get("--preset", next(iter(presets))) in presets


RECIPES = [GRPO_PRESETS[name] for name in ("paper_main", "paper_appendix")]
UPDATES = [one.epochs * -(-4856 // one.tasks_per_batch) for one in RECIPES]
EPISODES = [count * one.tasks_per_batch * one.group_size for count, one in zip(UPDATES, RECIPES, strict=True)]


def row(title):
    """Return the two cells of a line of a table."""
    found = re.search(rf"^\| {title} \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)
    assert found is not None, title
    return list(found.groups())


def test_the_two_recipes_are_those_of_the_presets():
    assert row("tasks per batch") == [str(one.tasks_per_batch) for one in RECIPES]
    assert row("steps of the optimizer per batch") == [str(one.options.minibatches) for one in RECIPES]
    assert row("epochs") == [str(one.epochs) for one in RECIPES]
    assert row("judge") == [one.judge for one in RECIPES]
    assert row("updates on 4,856 tasks") == [str(count) for count in UPDATES]
    assert row("episodes played") == [f"{count:,}" for count in EPISODES]


def test_the_costs_of_a_run_follow_from_the_estimate_of_a_step():
    shown = [line for line in (RESULTS / "estimate_7b.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    assert [line for line in shown if line not in PAGE] == []
    seconds = json.loads((RESULTS / "estimate_7b.json").read_text("utf-8"))["`paper_main`"]["seconds"]
    hours = [sum(seconds.values()) / 4096 * count / 3600 for count in EPISODES]
    assert row("H100 hours of GRPO") == [f"{one:,.0f}" for one in hours]
    assert row("the same on 32 H100, shared perfectly") == [f"{one / 32:.1f} h" for one in hours]
    assert row("price of the GPUs at 2 USD an hour") == [f"{2 * one:,.0f} USD" for one in hours]
    searches = "price of the searches, one an episode, each asked live at 75 USD for 5,000"
    assert row(searches) == [f"{count * 75 / 5000:,.0f} USD" for count in EPISODES]
    tuning = seconds["training"] / 4096 * 3 * 10_000 / 3600
    assert f"for 3 epochs takes {tuning:.1f} H100 hours" in PAGE
