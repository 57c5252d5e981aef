"""The examples that train, started by Accelerate in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the extra `agents` is not installed")
pytest.importorskip("transformers", reason="the extra `agents` is not installed")
pytest.importorskip("accelerate", reason="the extra `agents` is not installed")
from mmsearch_agents.checkpoints import Checkpoints  # noqa: E402
from mmsearch_agents.grpo import GRPOLearner  # noqa: E402
from mmsearch_agents.policy import QwenPolicy  # noqa: E402
from mmsearch_agents.training_log import EPISODES, METRICS, read_log  # noqa: E402
from tests.learner_models import make_policy  # noqa: E402

ROOT = Path(__file__).parents[1]
LIMIT_S = 840  # of a machine that is busy with something else
pytestmark = pytest.mark.timeout(900)


def launch(example, **options):
    """Run an example in two processes, as the docs tell to; return what was shown."""
    config = ROOT / "examples" / "accelerate" / "cpu.yaml"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "agents")])
    done = subprocess.run(
        [*launcher, "--config_file", str(config), str(ROOT / "examples" / example), *flags],
        capture_output=True, text=True, timeout=LIMIT_S,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stderr


def test_two_processes_learn_by_demonstrations(tiny_world_path, tmp_path):
    options = {"teachers": "direct", "max_tokens": 128, "evaluate_every": 2, "evaluate_on": 1, "num_envs": 4}
    launch("train_sft.py", world=tiny_world_path, out=tmp_path, **options)
    rows = read_log(tmp_path / METRICS)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert "eval/accuracy" in rows[-1]
    QwenPolicy.load(tmp_path / "policy")


def test_two_processes_learn_from_their_own_episodes(tiny_world_path, tmp_path):
    make_policy().save(tmp_path / "model")
    options = {"max_tokens": 96, "updates": 1, "checkpoint_every": 1, "evaluate_on": 1, "num_envs": 64}
    shown = launch("train_grpo.py", model=tmp_path / "model", world=tiny_world_path, out=tmp_path, **options)
    assert shown.count("1/1") == 1  # one of them tells
    (row,) = read_log(tmp_path / METRICS)
    assert (row["episodes"], row["steps"]) == (128.0, 1.0)
    assert "eval/accuracy" in row
    assert read_log(tmp_path / EPISODES)
    latest = Checkpoints(tmp_path / "checkpoints").latest()
    assert latest is not None
    assert GRPOLearner.load(latest).batches == 1
    QwenPolicy.load(tmp_path / "policy")
