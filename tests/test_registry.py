"""A policy is played by its name, in the environment and with the tokenizer that it was trained for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch", reason="the extra `agents` is not installed")
pytest.importorskip("transformers", reason="the extra `agents` is not installed")

from mmsearch_agents import make_learner, play
from mmsearch_agents.policy import QwenPolicy
from mmsearch_agents.sft import SFTLearner
from mmsearch_agents.shipped import POLICIES, policy_folder, trained_for, write_environment
from mmsearch_env import cli
from mmsearch_env.codec import BUILTIN
from mmsearch_env.errors import ConfigurationError
from mmsearch_env.paths import bundled
from tests.learner_models import CODEC, make_envs, make_policy
from tests.policy_models import small_model


@pytest.fixture
def tiny_sft(tmp_path, tiny_world_path, monkeypatch):
    """The folder of a policy that passes for `tiny-sft`, trained for short prompts on the tiny world."""
    monkeypatch.setattr("mmsearch_agents.shipped.bundled", tmp_path.joinpath)
    folder = tmp_path / "models" / "tiny-sft"
    folder.parent.mkdir()
    make_policy().save(folder)
    write_environment(folder, {"world": str(tiny_world_path), "prompts": "short", "top_k": 2, "max_tokens": 96})
    return folder


def episodes(learner, envs):
    return sorted(play(learner, envs, [task.id for task in envs.stage.tasks]), key=lambda pair: pair[0])


def test_a_policy_is_made_by_its_name_and_its_sampling_follows_the_seed(tiny_sft):
    options = trained_for("tiny-sft")
    envs = make_envs(**options)
    assert envs.stage.rules.settings["top_k"] == 2
    learners: list[Any] = [make_learner("tiny-sft", envs, seed=seed) for seed in (1, 1, 2)]
    assert all(isinstance(learner, SFTLearner) for learner in learners)
    first, same, other = (episodes(learner, envs) for learner in learners)
    assert first == same
    assert first != other


@pytest.mark.skipif(
    not [*bundled("models").glob("*/policy.json")], reason="this copy of the library came without policies"
)
@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_that_comes_with_the_library_plays_and_brings_its_log(name):
    options = trained_for(name)
    envs = make_envs(options.pop("world"), rows=4, **{**options, "split": "test"})
    task_ids = [task.id for task in envs.stage.tasks[:4]]
    played = [one for _, one in play(make_learner(name, envs), envs, task_ids, deterministic=True)]
    assert sum(one.reward_terms["format"] for one in played) >= 3
    rows = [json.loads(line) for line in (policy_folder(name) / "training.jsonl").read_text().splitlines()]
    assert len(rows) > 10


def test_a_policy_with_another_tokenizer_than_the_environment_is_refused(tiny_sft, tmp_path, tiny_world):
    spec = json.loads(BUILTIN.read_text(encoding="utf-8"))
    merges = spec["model"]["merges"]
    merges[-1], merges[-2] = merges[-2], merges[-1]
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    envs = make_envs(tiny_world, tokenizer=tmp_path / "tokenizer.json")
    with pytest.raises(ConfigurationError, match="make the environment with the policy's tokenizer"):
        make_learner("tiny-sft", envs)


def test_a_policy_whose_model_does_not_fit_its_tokenizer_is_refused(tiny_sft, tiny_world):
    model = small_model(CODEC)
    model.config.image_token_id = 7
    model.save_pretrained(tiny_sft)
    with pytest.raises(ConfigurationError, match="placeholder for pictures"):
        make_learner("tiny-sft", make_envs(tiny_world))


def test_eval_plays_a_policy_as_it_was_trained_unless_told_otherwise(tiny_sft, tiny_world_path, tmp_path):
    def run(*words):
        done = CliRunner().invoke(cli.app, ["eval", "--agent", "tiny-sft", "--episodes", "1", *words])
        assert done.exit_code == 0, done.output
        return done

    done = run("--out", str(tmp_path / "run"), "--top-k", "3")
    assert f"tiny-sft plays as it was trained: --world {tiny_world_path} --prompts short --max-tokens 96" in done.output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["world"] == "tiny"
    assert [summary["settings"][name] for name in ("prompts", "top_k", "max_tokens")] == ["short", 3, 96]
    again = run(*summary["command"].split()[4:-1], str(tmp_path / "again"))
    assert "as it was trained" not in again.output
    assert json.loads((tmp_path / "again" / "summary.json").read_text()) == summary
    as_json = run("--out", str(tmp_path / "third"), "--json")
    assert json.loads(as_json.stdout)["settings"]["top_k"] == 2


def test_reading_and_writing_weights_shows_no_bars_but_leaves_others_as_they_were(tmp_path, capsys):
    from transformers.utils import logging

    make_policy(rank=2).save(tmp_path / "policy")
    QwenPolicy.load(tmp_path / "policy")
    assert "it/s" not in capsys.readouterr().err
    for _ in logging.tqdm(range(2), desc="Mine"):
        pass
    assert "Mine" in capsys.readouterr().err
    assert logging.set_tqdm_hook(None) is None
