"""The benchmark of a step of GRPO: both sides do the same work, and the report says what it promises."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `agents` is not installed")
pytest.importorskip("trl", reason="the extra `dev` is not installed")

from benchmarks import grpo_step, timing  # noqa: E402
from benchmarks.grpo_sides import Ours, Theirs, vowels  # noqa: E402
from mmsearch_agents.policy import Sample, pictures_of  # noqa: E402
from mmsearch_env.codec import load_codec  # noqa: E402


def test_the_report_has_both_sides_with_their_memory_and_ratio(tiny_world_path, tmp_path, monkeypatch, capsys):
    def peaks(world, size):  # two processes more would load torch, and one of them TRL
        return {name: grpo_step.peak_memory(name, world, size) for name in grpo_step.SIDES}

    monkeypatch.setattr(grpo_step, "peaks", peaks)
    with torch.random.fork_rng():
        timing.main(grpo_step.run, "", ["--quick", "--world", str(tiny_world_path), "--out", str(tmp_path)])
    written = json.loads((tmp_path / "grpo_step.json").read_text("utf-8"))
    assert [row["what"] for row in written["rows"]] == list(grpo_step.SIDES)
    assert all(0 < row["least"] <= row["median"] for row in written["rows"])
    comparison, memory = written["notes"][:2]
    assert "times as long as mmsearch-env" in comparison
    assert all(f"{name} " in memory for name in grpo_step.SIDES)
    assert str(tiny_world_path) not in (tmp_path / "grpo_step.md").read_text("utf-8")


def test_memory_is_that_of_a_process_of_its_own(tiny_world, monkeypatch):
    monkeypatch.setattr(grpo_step, "SIDES", (grpo_step.OURS,))
    ballast = np.ones(1 << 27)  # a GiB that the other process does not have
    ((before, after),) = grpo_step.peaks(tiny_world, grpo_step.QUICK).values()
    assert 100 < before <= after < grpo_step.peak_memory(grpo_step.OURS, tiny_world, grpo_step.QUICK)[0]
    assert len(ballast) == 1 << 27


def test_both_sides_read_and_write_equally_many_ids(tiny_world):
    size = grpo_step.QUICK
    ours, codec = Ours(tiny_world, size), load_codec()
    trajectories = next(ours.batches)
    assert len(trajectories) == size.groups * size.group_size
    for trajectory in trajectories:
        assert len(trajectory.actions) == size.new_tokens
        assert codec.end_of_turn_id not in trajectory.actions
        assert trajectory.reward == vowels(trajectory.turns[-1].text)
    sample = Sample.of(trajectories[0], pictures_of(ours.envs.stage))
    cells = ours.learner.policy.collate([sample]).ids.shape[1]
    with torch.random.fork_rng():
        trainer = Theirs(tiny_world, size).trainer
    (prompt,) = trainer.train_dataset["prompt"]
    assert len(trainer.processing_class(text=prompt)["input_ids"]) + size.new_tokens == cells


@pytest.mark.parametrize(("count", "low", "high"), [(5, 0, 4), (6, 0, 5), (9, 1, 7), (12, 2, 9)])
def test_the_interval_of_a_median_is_that_of_the_sign_test(count, low, high):
    assert grpo_step.median_interval(list(range(count))) == (low, high)
