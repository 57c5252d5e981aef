"""The example that evaluates plays every kind of agent as it was trained, greedily and drawn."""

from __future__ import annotations

import json
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the extra `agents` is not installed")
pytest.importorskip("transformers", reason="the extra `agents` is not installed")

from examples import evaluate  # noqa: E402
from mmsearch_agents.shipped import write_environment  # noqa: E402
from mmsearch_env.codec import BUILTIN  # noqa: E402
from tests.learner_models import CODEC, make_policy  # noqa: E402
from tests.policy_models import small_model  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture
def config(tiny_world_path, tmp_path):
    def make(**options: Any):
        options = {"num_envs": 2, "split": "test", "out": str(tmp_path / "runs"), **options}
        return evaluate.Config(**options)

    return make


@pytest.fixture
def policy(tiny_world_path, tmp_path):
    make_policy().save(tmp_path / "policy")
    write_environment(tmp_path / "policy", {"world": str(tiny_world_path), "prompts": "short", "max_tokens": 96})
    return tmp_path / "policy"


def test_a_policy_is_played_greedily_once_and_drawn_once_for_each_seed(config, policy, tmp_path, capsys):
    names = [str(policy), f"{policy} drawn 0", f"{policy} drawn 1"]
    given = config(agents=str(policy), temperature=0.5, seeds=2)
    found = evaluate.main(given)
    assert list(found) == names
    assert [one.seed for one in found.values()] == [None, 0, 1]
    assert {one.settings["prompts"] for one in found.values()} == {"short"}
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert folders == sorted(name.replace("/", "_").replace(" ", "-") for name in names)
    rows = [json.loads((tmp_path / "runs" / folder / "summary.json").read_text()) for folder in folders]
    assert rows[0]["command"].startswith(f"python examples/evaluate.py --agents {policy} --temperature 0.5 --seeds 2 ")
    shown = capsys.readouterr().out
    assert "category" in shown
    assert "temperature 0.5 where drawn" in shown
    assert evaluate.main(given) == found


def test_a_model_of_transformers_alone_is_played_with_its_own_tokenizer(config, tiny_world_path, tmp_path):
    small_model(CODEC).save_pretrained(tmp_path / "hub")
    (tmp_path / "hub" / "tokenizer.json").write_text(BUILTIN.read_text(encoding="utf-8"), encoding="utf-8")
    model = str(tmp_path / "hub")
    found = evaluate.main(config(agents=f"direct,{model}", world=str(tiny_world_path), episodes=1))
    assert [one.overall.episodes for one in found.values()] == [1, 1]
    assert found[model].settings["tokenizer"] == model
