"""The table of the tiny policies measures what stands in it."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

pytest.importorskip("torch", reason="the extra `agents` is not installed")
pytest.importorskip("transformers", reason="the extra `agents` is not installed")

from benchmarks import tiny_policies
from mmsearch_agents.learner import Decision
from mmsearch_agents.policy import QwenPolicy, build_model, tiny_config
from mmsearch_env.codec import load_codec
from mmsearch_env.vector import MMSearchVectorEnv
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
    monkeypatch.setattr(
        tiny_policies, "reading", lambda policy, split, task_ids: {"all": 12.5, "tasks": 8, "comparison": 50.0}
    )
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


class Parrot:
    """Says what it was told to say, whatever stands before."""

    def __init__(self, codec, text):
        self.ids, self.said, self.codec = codec.encode_move(text), 0, codec

    def act(self, observations, *, deterministic):
        assert deterministic
        ends = self.said == len(self.ids)
        token_id = self.codec.end_of_turn_id if ends else self.ids[self.said]
        self.said = 0 if ends else self.said + 1
        return Decision(np.array([token_id]))


def test_reading_is_answering_after_the_oracles_searches(monkeypatch):
    episodes, stage = teacher_episodes("test", 30)
    searched = [one for one in episodes if one.task.needs_search]
    assert len(searched[0].turns) > 1
    envs = MMSearchVectorEnv(1, split="test", autoreset_mode=AutoresetMode.DISABLED, **ENVIRONMENT)
    right: Any = Parrot(stage.codec, f"<reason>Read.</reason><answer>{searched[0].answer}</answer>")
    assert tiny_policies.answers(right, envs, searched[0])
    wrong: Any = Parrot(stage.codec, "<reason>Read.</reason><answer>Atlantis</answer>")
    assert not tiny_policies.answers(wrong, envs, searched[0])
    monkeypatch.setattr(tiny_policies, "teacher_episodes", lambda split: (searched[:1], stage))
    assert tiny_policies.reading(right, "test", [searched[0].task.id]) == {
        "all": 100.0,
        searched[0].task.category: 100.0,
        "tasks": 1,
    }


def test_parts_that_no_task_is_of_stay_empty():
    part = {"accuracy": 50.0, "ci95": [20.0, 80.0], "format": 100.0, "searches": {"text": 1, "image": 0, "crop": 0.5}}
    greedy = {"all": part, "needs none": part}
    results = {"world": "w", "split": "test", "tasks": 1, "world_hash": "0", "environment": {}, "curves": {}}
    table = tiny_policies.as_markdown({**results, "agents": {"mine": {"greedy": greedy, "sampled": greedy}}})
    share = "50.0 (20.0–80.0)"
    assert f"| mine | {share} |  | {share} |  |  |  |  | {share} | 100.0 |" in table
    assert "| mine | 1.00 (1.00) | 0.00 (0.00) | 0.50 (0.50) |  |  | 1.50 (1.50) |" in table


def test_gains_are_taken_from_the_policy_that_a_run_started_from():
    def row(accuracy):
        part = {"accuracy": accuracy, "ci95": [0, 1], "format": 100.0, "searches": {"text": 1, "image": 0, "crop": 0}}
        return {way: dict.fromkeys(("all", "needs search", "needs none"), part) for way in ("greedy", "sampled")}

    results = {"world": "w", "split": "test", "tasks": 1, "world_hash": "0", "environment": {}, "curves": {}}
    agents = {"tiny-sft": row(20.0), "GRPO, seed 0 (tiny-grpo)": row(50.0), "GRPO, seed 1": row(30.0)}
    table = tiny_policies.as_markdown({**results, "agents": agents})
    assert "GRPO from `tiny-sft`, greedily, in points (each seed): all +20.0 (+30.0, +10.0); needs search" in table
    assert "GRPO from `SFT, answers right`" not in table
