"""The table of the tiny policies measures what stands in it."""

from __future__ import annotations

import json
import sys

import pytest

pytest.importorskip("torch", reason="the extra `agents` is not installed")
pytest.importorskip("transformers", reason="the extra `agents` is not installed")

from benchmarks import tiny_policies
from mmsearch_agents.policy import QwenPolicy, build_model, tiny_config
from mmsearch_env.codec import load_codec
from modelgen.dialogues import ENVIRONMENT, teacher_episodes


def test_policies_that_are_there_and_the_scripted_agents_stand_in_the_table(tmp_path, monkeypatch):
    codec = load_codec()
    policy = QwenPolicy(build_model(tiny_config(codec, width=32, layers=1)), codec)
    for run in ("base", "grpo-0"):
        policy.save(tmp_path / "runs" / run / "policy")
    updates = [{"dead_groups": 0.0, "reward": 0.1 * number, "kl": 0.0, "entropy": 1.0} for number in range(3)]
    searches = {f"searches/{kind}": 1.0 for kind in ("text", "image", "crop")}
    log = "".join(json.dumps(update | searches) + "\n" for update in updates)
    (tmp_path / "runs" / "grpo-0" / "metrics.jsonl").write_text(log)
    monkeypatch.setattr(tiny_policies, "SCRIPTED", ("direct", "oracle"))
    monkeypatch.setattr(tiny_policies, "ENVIRONMENT", {**ENVIRONMENT, "max_tokens": 160})
    arguments = [str(tmp_path / "runs"), "--out", str(tmp_path), "--episodes", "12"]
    monkeypatch.setattr(sys, "argv", ["tiny_policies", *arguments])
    monkeypatch.setattr(tiny_policies, "reading", lambda policy, split: {"all": 12.5, "tasks": 8})
    tiny_policies.main()
    results = json.loads((tmp_path / "tiny_policies.json").read_text())
    assert list(results["agents"]) == ["tiny-base", "GRPO, seed 0 (tiny-grpo)", "`direct`", "`oracle`"]
    free = results["agents"]["`oracle`"]["greedy"]["needs none"]
    assert free["accuracy"] == 100.0
    assert free["searches"] == {"text": 0.0, "image": 0.0, "crop": 0.0}
    table = (tmp_path / "tiny_policies.md").read_text()
    assert "| GRPO, seed 0 (tiny-grpo) | 3 | 0.100 → 0.100 |" in table
    assert "12.5 % of 8 answers" in table
    assert (tmp_path / "tiny_policies.png").stat().st_size > 1000


def test_reading_is_measured_by_category_on_the_oracles_dialogues(monkeypatch):
    codec = load_codec()
    policy = QwenPolicy(build_model(tiny_config(codec, width=32, layers=1)), codec)
    episodes, stage = teacher_episodes("test", 30)
    monkeypatch.setattr(tiny_policies, "teacher_episodes", lambda split: (episodes, stage))
    monkeypatch.setattr(tiny_policies, "exactness", lambda policy, samples: {"answer": 0.5})
    read = tiny_policies.reading(policy, "test")
    searched = [one for one in episodes if one.task.needs_search]
    assert read["all"] == 50.0
    assert read["tasks"] == sum(one.task.category != "comparison" for one in searched)


def test_parts_that_no_task_is_of_stay_empty():
    part = {"accuracy": 50.0, "ci95": [20.0, 80.0], "format": 100.0, "searches": {"text": 1, "image": 0, "crop": 0.5}}
    greedy = {"all": part, "needs none": part}
    results = {"world": "w", "split": "test", "tasks": 1, "world_hash": "0", "environment": {}, "curves": {}}
    table = tiny_policies.as_markdown({**results, "agents": {"mine": {"greedy": greedy, "sampled": greedy}}})
    share = "50.0 (20.0–80.0)"
    assert f"| mine | {share} |  | {share} |  |  |  |  | {share} | 100.0 |" in table
    assert "| mine | 1.00 (1.00) | 0.00 (0.00) | 0.50 (0.50) |  |  | 1.50 (1.50) |" in table
