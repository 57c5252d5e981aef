"""The demo lets a policy learn where there is one, and says why not where there is none."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="the extra `report` is not installed")

from examples import demo
from mmsearch_agents import AGENTS
from mmsearch_agents.shipped import trained_for, write_environment


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The folder in which policies are looked for; there is none to begin with."""
    monkeypatch.setattr("mmsearch_agents.shipped.bundled", tmp_path.joinpath)
    return tmp_path / "models"


def text_of(page):
    pieces: list[str] = []
    parser: Any = HTMLParser()
    parser.handle_data = pieces.append
    parser.feed(page.read_text())
    return " ".join(" ".join(pieces).split())


def test_without_torch_or_the_policy_the_first_part_is_played_alone(models, tiny_world_path, tmp_path, capsys):
    config = demo.Config(world=str(tiny_world_path), out=str(tmp_path / "out"), episodes=1)
    demo.main(config)
    shown = " ".join(capsys.readouterr().out.split())
    assert "Nobody learns here:" in shown
    assert all(agent in shown for agent in AGENTS)
    page = text_of(tmp_path / "out" / "index.html")
    assert "Episodes" in page
    assert "Before and after" not in page


def test_each_reason_not_to_learn_is_told(models, tiny_world_path, monkeypatch):
    config = demo.Config(world=str(tiny_world_path))
    assert demo.why_not(demo.Config(seconds=0)) == "--seconds is 0."
    monkeypatch.setattr(demo, "find_spec", lambda package: None if package == "torch" else object())
    assert "pip install 'mmsearch-env[agents]'" in demo.why_not(config)
    monkeypatch.setattr(demo, "find_spec", lambda package: object())
    assert "came without" in demo.why_not(config)
    (models / "tiny-sft").mkdir(parents=True)
    (models / "tiny-sft" / "policy.json").write_text('{"tokenizer": "builtin"}')
    write_environment(models / "tiny-sft", {"world": "atlas"})
    assert demo.why_not(config) == f"tiny-sft was trained for another world than {tiny_world_path}."
    assert demo.why_not(demo.Config()) == ""


def test_a_policy_learns_while_there_is_time_and_the_page_shows_it(models, tiny_world_path, tmp_path, capsys):
    torch = pytest.importorskip("torch", reason="the extra `agents` is not installed")
    from mmsearch_agents.policy import QwenPolicy
    from tests.learner_models import make_policy

    torch.set_num_threads(1)
    models.mkdir()
    make_policy().save(models / "tiny-sft")
    environment = {"world": str(tiny_world_path), "prompts": "short", "max_tokens": 96}
    write_environment(models / "tiny-sft", environment)
    out = tmp_path / "out"
    demo.main(demo.Config(world=str(tiny_world_path), out=str(out), episodes=2, policy_episodes=0, seconds=0.1))
    rows = [json.loads(line) for line in (out / "learning" / "metrics.jsonl").read_text().splitlines()]
    assert [row["episodes"] for row in rows] == [128.0]
    for name in ("tiny-sft", "tiny-sft+GRPO"):
        summary = json.loads((out / name / "summary.json").read_text())
        assert (summary["episodes"], summary["settings"]["prompts"]) == (2, "short")
    assert trained_for(out / "learning" / "policy") == {"tokenizer": "builtin", **environment}
    QwenPolicy.load(out / "learning" / "policy")
    page = text_of(out / "index.html")
    assert "1 update in" in page
    assert "Of the same 2 tasks, each played greedily, tiny-sft had 0 right and tiny-sft+GRPO has 0" in page
    assert "tiny-sft learns for 0.1 seconds" in capsys.readouterr().out
