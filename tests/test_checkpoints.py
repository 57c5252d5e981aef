"""Checkpoints: training that was left, or killed, goes on as if it had not been."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the extra `agents` is not installed")
pytest.importorskip("transformers", reason="the extra `agents` is not installed")

from mmsearch_agents import Dataset, Rollouts, make_learner, train  # noqa: E402
from mmsearch_agents.checkpoints import Checkpoints, resumed  # noqa: E402
from mmsearch_agents.evaluate import evaluate  # noqa: E402
from mmsearch_agents.grpo import GRPOLearner, GrpoOptions  # noqa: E402
from mmsearch_agents.optimization import OptimizerOptions  # noqa: E402
from mmsearch_agents.policy import LoraOptions, QwenPolicy, Sampling, add_lora, pictures_of  # noqa: E402
from mmsearch_agents.schedules import Schedule  # noqa: E402
from mmsearch_agents.sft import SFTLearner, SftOptions  # noqa: E402
from mmsearch_agents.training_log import METRICS, read_log  # noqa: E402
from mmsearch_env.errors import ConfigurationError  # noqa: E402
from tests.learner_models import (  # noqa: E402
    CODEC,
    Rewarded,
    demonstrations,
    equal,
    ids_reward,
    make_envs,
    make_policy,
    weights_of,
)
from tests.policy_models import small_model  # noqa: E402

torch.set_num_threads(1)
ROOT = Path(__file__).parents[1]
KILLS = 3
ADAMW = OptimizerOptions(learning_rate=1e-3, schedule=Schedule(kind="cosine", total=8, warmup_steps=1))


@pytest.fixture(scope="module")
def envs(tiny_world):
    return make_envs(tiny_world, rows=4)


def dropping_out():
    """Return a policy whose adapters drop out, so that training draws random numbers of its own."""
    model = add_lora(small_model(CODEC), LoraOptions(rank=2, dropout=0.3))
    return QwenPolicy(model, CODEC, seed=3, sampling=Sampling(temperature=0.9))


LEARNERS = {
    "grpo": (GRPOLearner, make_policy, GrpoOptions(optimizer=ADAMW, kl_coef=0.05, epochs=2, minibatches=2)),
    "grpo-lora": (GRPOLearner, lambda: make_policy(rank=2), GrpoOptions(optimizer=ADAMW, kl_coef=0.05)),
    "grpo-dropout": (GRPOLearner, dropping_out, GrpoOptions(optimizer=ADAMW, reference="adapters_off")),
    "sft": (SFTLearner, make_policy, SftOptions(optimizer=ADAMW)),
    "sft-dropout": (SFTLearner, dropping_out, SftOptions(optimizer=ADAMW, tokens="all")),
}


@pytest.fixture(params=LEARNERS)
def kind(request):
    return LEARNERS[request.param]


def source_for(learner, envs):
    """Return a source that goes on where the learner is."""
    if isinstance(learner, SFTLearner):
        shown = demonstrations(make_envs(envs.stage.world, rows=4, max_tokens=128), "yes", "no")
        return resumed(Dataset(trajectories=shown, batch_size=6, epochs=2, seed=5), learner.batches)
    rollouts = Rollouts(envs=envs, group_size=2, tasks_per_batch=2, seed=5)
    return Rewarded(resumed(rollouts, learner.batches), ids_reward)


def test_four_updates_are_two_and_a_checkpoint_and_two(kind, envs, tmp_path):
    make, policy, options = kind
    view = pictures_of(envs.stage)
    straight = make(policy(), options, pictures=view, seed=7)
    history = train(straight, source_for(straight, envs), updates=4)

    first = make(policy(), options, pictures=view, seed=7)
    before = train(first, source_for(first, envs), updates=2)
    checkpoints = Checkpoints(tmp_path)
    saved = checkpoints.save(first)
    assert checkpoints.latest() == saved == tmp_path / "000002"
    second = make.load(saved, pictures=view)
    after = train(second, source_for(second, envs), updates=2)

    assert [*before, *after] == history
    assert equal(weights_of(second), weights_of(straight))
    assert torch.equal(second.policy.generator.get_state(), straight.policy.generator.get_state())
    assert second.batches == 4


def test_an_evaluation_before_a_checkpoint_makes_no_difference_after_it(envs, tmp_path):
    view, task_ids = pictures_of(envs.stage), [task.id for task in envs.stage.tasks]
    learner = GRPOLearner(make_policy(), GrpoOptions(optimizer=ADAMW), pictures=view)
    train(learner, source_for(learner, envs), updates=1)
    evaluate(learner, envs, task_ids)
    learner.save(tmp_path / "saved")
    loaded = GRPOLearner.load(tmp_path / "saved", pictures=view)
    after = [train(one, source_for(one, envs), updates=1) for one in (learner, loaded)]
    assert after[0] == after[1]
    assert equal(weights_of(learner), weights_of(loaded))


def test_a_loaded_learner_is_found_by_its_folder_and_asks_for_its_pictures(kind, envs, tmp_path):
    make, policy, options = kind
    learner = make(policy(), options, pictures=pictures_of(envs.stage))
    learner.save(tmp_path / "saved")
    found: Any = make_learner(tmp_path / "saved", envs)
    assert type(found) is make
    assert found.options == options
    batch = next(iter(source_for(learner, envs).batches(learner)))
    with pytest.raises(ConfigurationError, match="pictures_of"):
        found.learn(batch)
    found.pictures = pictures_of(envs.stage)
    assert found.learn(batch) == learner.learn(batch)


def test_what_was_frozen_stays_frozen(envs, tmp_path):
    learner = SFTLearner(make_policy(), pictures=pictures_of(envs.stage))
    learner.save(tmp_path / "saved")
    assert weights_of(SFTLearner.load(tmp_path / "saved")).keys() == weights_of(learner).keys()


def test_a_policy_alone_can_be_made_a_learner(envs, tmp_path):
    make_policy().save(tmp_path / "policy")
    assert isinstance(make_learner(tmp_path / "policy", envs), SFTLearner)


def test_files_that_do_not_belong_together_are_refused(envs, tmp_path):
    learner = GRPOLearner(make_policy(), pictures=pictures_of(envs.stage))
    learner.save(tmp_path / "one")
    next(iter(source_for(learner, envs).batches(learner)))
    learner.save(tmp_path / "two")
    shutil.copy(tmp_path / "one" / "training.safetensors", tmp_path / "two")
    with pytest.raises(ConfigurationError, match="other tensors"):
        GRPOLearner.load(tmp_path / "two")
    (tmp_path / "one" / "training.safetensors").write_bytes(b"\x80\x04N.")
    with pytest.raises(ConfigurationError, match="Expected"):
        GRPOLearner.load(tmp_path / "one")
    with pytest.raises(ConfigurationError, match=r"sft\.json"):
        SFTLearner.load(tmp_path / "two")


class Counting:
    """A learner that writes nothing but its number."""

    batches = 0

    def save(self, path):
        path.mkdir(parents=True)
        (path / "number").write_text(str(self.batches))


def test_the_last_checkpoints_are_kept_and_leftovers_removed(tmp_path):
    leftovers = (".000004.12.partial", "..000004.12.partial.12.partial", ".000002.removed")
    for name in leftovers:
        (tmp_path / name).mkdir()
    (tmp_path / ".mine").mkdir()
    learner, checkpoints = Counting(), Checkpoints(tmp_path, every=3, keep=2)
    assert checkpoints.latest() is None
    save = checkpoints.saver(learner)
    for update in range(12):
        learner.batches += 1
        save(update, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine", "000009", "000012"]
    assert checkpoints.latest() == tmp_path / "000012"
    with pytest.raises(ConfigurationError, match="at least 1"):
        Checkpoints(tmp_path, keep=0)


def test_two_runs_are_not_mixed_in_one_folder(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.begin(resume=False) is None
    with pytest.raises(ConfigurationError, match="to go on from, got none"):
        checkpoints.begin(resume=True)
    (tmp_path / "checkpoints" / "000020").mkdir(parents=True)
    assert checkpoints.begin(resume=True) == tmp_path / "checkpoints" / "000020"
    with pytest.raises(ConfigurationError, match=r"of another run .*, got 000020"):
        checkpoints.begin(resume=False)


def test_more_updates_than_are_wanted_cannot_be_undone(envs):
    with pytest.raises(ConfigurationError, match="0 or more, got -1"):
        train(make_learner("direct", envs), Rollouts(envs=envs, group_size=1, tasks_per_batch=1), updates=-1)


@pytest.mark.parametrize("done", [0, 1, 4])
def test_a_source_goes_on_where_it_was(envs, done):
    learner = make_learner("direct", envs)
    rollouts = Rollouts(envs=envs, group_size=2, tasks_per_batch=3, seed=1)
    shown = demonstrations(make_envs(envs.stage.world, rows=4, max_tokens=128), "yes")
    for source in (rollouts, Dataset(trajectories=shown, batch_size=4, epochs=3)):
        straight, later = (iter(one.batches(learner)) for one in (source, resumed(source, done)))
        skipped = [next(straight) for _ in range(done)]
        assert len(skipped) == done
        for _ in range(2):
            assert [one.task.id for one in next(later)] == [one.task.id for one in next(straight)]


class Jobs:
    """Runs jobs in children of a warmed process, which can be killed."""

    def __init__(self):
        self.process: Any = subprocess.Popen(
            [sys.executable, "-m", "tests.training_killed"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def run(self, job, kill_when=None):
        """Run a job, kill it as soon as `kill_when` holds, and return the exit code."""
        self._say(json.dumps(job))
        child = int(self.process.stdout.readline())
        if kill_when is not None:
            while not kill_when():
                time.sleep(0.002)
            os.kill(child, signal.SIGKILL)
        self._say("wait")
        return int(self.process.stdout.readline())

    def _say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_training_that_is_killed_again_and_again_ends_as_if_it_had_not_been(tiny_world_path, tmp_path):
    jobs = Jobs()
    try:
        job = {"world": str(tiny_world_path), "updates": KILLS + 2}
        assert jobs.run({**job, "out": str(tmp_path / "straight")}) == 0
        out = tmp_path / "killed"
        folder = out / "checkpoints"
        for kill in range(KILLS):
            wanted = f"{kill + 1:06d}"

            def at_work(kill=kill, wanted=wanted):
                # By turns: while a checkpoint is being written, and after it stands, on a busy machine some time later.
                if any(path.name >= wanted for path in folder.glob("[0-9]*")):
                    return True
                return kill % 2 == 0 and any(wanted in path.name for path in folder.glob(".*"))

            assert jobs.run({**job, "out": str(out)}, kill_when=at_work) == -signal.SIGKILL
            for whole in folder.glob("[0-9]*"):
                GRPOLearner.load(whole)
        assert jobs.run({**job, "out": str(out)}) == 0
    finally:
        jobs.close()
    last = [Checkpoints(tmp_path / run / "checkpoints").latest() for run in ("straight", "killed")]
    ends = [GRPOLearner.load(folder) for folder in last if folder is not None]
    assert [end.batches for end in ends] == [KILLS + 2] * 2
    assert equal(*(weights_of(end) for end in ends))
    logs = [read_log(tmp_path / run / METRICS) for run in ("straight", "killed")]
    clocks = {"seconds", "tokens_per_second"}
    straight, killed = ([{k: v for k, v in row.items() if k not in clocks} for row in log] for log in logs)
    assert killed == straight
    assert not list((tmp_path / "killed" / "checkpoints").glob(".*"))
