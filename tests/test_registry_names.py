"""Policies have names, and say what environment they were trained for; none of that needs torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from mmsearch_agents import AGENTS, make_learner
from mmsearch_agents.shipped import FILE, POLICIES, environment_of, policy_folder, trained_for, write_environment
from mmsearch_env import cli
from mmsearch_env.errors import ConfigurationError
from mmsearch_env.paths import bundled
from mmsearch_env.stage import Stage

SHORT = {"world": "atlas", "prompts": "short", "top_k": 2, "max_tokens": 1024}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The folder in which policies are looked for."""
    monkeypatch.setattr("mmsearch_agents.shipped.bundled", tmp_path.joinpath)
    return tmp_path / "models"


def put(folder, **state):
    folder.mkdir(parents=True)
    (folder / "policy.json").write_text(json.dumps({"tokenizer": "builtin", **state}))
    return folder


@pytest.mark.skipif(
    not [*bundled("models").glob("*/policy.json")], reason="this copy of the library came without policies"
)
@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_that_is_named_is_there_and_says_what_it_was_trained_for(name):
    assert trained_for(name) == {"tokenizer": "builtin", **SHORT}
    assert sum(path.stat().st_size for path in policy_folder(name).iterdir()) < 20_000_000


def test_a_name_is_a_folder_of_the_library_and_anything_else_a_path(models, tmp_path):
    put(models / "tiny-sft")
    assert policy_folder("tiny-sft") == models / "tiny-sft"
    assert policy_folder(tmp_path / "mine") == tmp_path / "mine"
    with pytest.raises(ConfigurationError, match=r"the policy 'tiny-base' in .*models/tiny-base.*came without"):
        policy_folder("tiny-base")


def test_agents_that_play_anywhere_were_trained_for_nothing(tmp_path):
    assert trained_for("refiner") == {}
    assert trained_for(tmp_path) == {}
    assert trained_for("no/such-model") == {}


def test_a_scripted_agent_is_no_folder_that_happens_to_have_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_environment(put(tmp_path / "oracle"), SHORT)
    assert trained_for("oracle") == {}
    assert trained_for("./oracle") == {"tokenizer": "builtin", **SHORT}


def test_what_is_noted_of_the_environment_is_read_back_with_the_tokenizer(models, tmp_path):
    folder = put(models / "tiny-sft", tokenizer="some/model")
    assert trained_for("tiny-sft") == {"tokenizer": "some/model"}
    write_environment(folder, SHORT)
    assert trained_for("tiny-sft") == {"tokenizer": "some/model", **SHORT}
    again = put(tmp_path / "again")
    write_environment(again, trained_for("tiny-sft"))
    assert trained_for(again) == {"tokenizer": "builtin", **SHORT}


def test_the_options_of_an_environment_can_be_noted_as_they_are(models, make_env, tiny_world_path):
    stage = make_env(prompts="short", top_k=3, max_tokens=500).unwrapped.stage
    noted = environment_of(stage)
    folder = put(models / "tiny-sft")
    write_environment(folder, noted)
    again = Stage(**trained_for("tiny-sft"), split="train")
    assert again.rules.settings == stage.rules.settings
    assert noted["world"] == str(tiny_world_path.resolve())


@pytest.mark.skipif(not bundled("atlas", "world.json").is_file(), reason="the world atlas is not built here")
def test_a_bundled_world_is_noted_by_its_name():
    assert environment_of(Stage("atlas"))["world"] == "atlas"
    assert environment_of(Stage(os.path.relpath(bundled("atlas"))))["world"] == "atlas"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": "2"}, "Expected top_k to be a whole number, got '2'"),
        ({"top_k": True}, "Expected top_k to be a whole number, got True"),
        ({"prompts": 1}, "Expected prompts to be text, got 1"),
        ({"promts": "short"}, "Did you mean 'prompts'"),
        ({"provider": "serper"}, "got 'provider'"),
    ],
)
def test_options_that_do_not_exist_or_are_not_a_folders_to_decide_are_refused(models, options, message):
    folder = put(models / "tiny-sft")
    with pytest.raises(ConfigurationError, match=message):
        write_environment(folder, options)
    assert not (folder / FILE).exists()
    (folder / FILE).write_text(json.dumps(options))
    with pytest.raises(ConfigurationError, match=rf"{FILE}: .*{message}"):
        trained_for("tiny-sft")


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_file_that_is_no_object_is_named(models, text):
    (put(models / "tiny-sft") / FILE).write_text(text)
    with pytest.raises(ConfigurationError, match=rf"Expected a JSON object in .*{FILE}"):
        trained_for("tiny-sft")


def test_a_wrong_name_is_answered_with_all_that_there_are(make_env):
    with pytest.raises(ConfigurationError, match="Did you mean 'tiny-sft'") as caught:
        make_learner("tiny-stf", make_env())
    assert all(name in str(caught.value) for name in (*AGENTS, *POLICIES))


def test_a_folder_that_holds_no_learner_is_told_from_a_wrong_name(make_env, tmp_path):
    with pytest.raises(ConfigurationError, match=r"holds none of scripted\.json, .*policy\.json\."):
        make_learner(tmp_path, make_env())


def test_the_command_line_names_them_without_loading_torch():
    shown = " ".join(CliRunner().invoke(cli.app, ["eval", "--help"]).output.split())
    assert all(name in shown.replace("- ", "-") for name in (*AGENTS, *POLICIES))
    code = "import mmsearch_agents.cli, mmsearch_agents.shipped, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("marker", ["policy.json", "sft.json", "grpo.json"])
def test_without_torch_a_policy_says_what_to_install(marker, tmp_path, tiny_world_path):
    (tmp_path / marker).write_text("{}")
    code = f"""
import sys
sys.modules["torch"] = None
import gymnasium
from mmsearch_agents import make_learner
from mmsearch_env.errors import MissingExtraError
try:
    make_learner({str(tmp_path)!r}, gymnasium.make("mmsearch_env:MMSearch-v0", world={str(tiny_world_path)!r}))
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'mmsearch-env[agents]'" in done.stdout, done.stderr
