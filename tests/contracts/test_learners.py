"""What every learner keeps to; a new one is added to the list."""

from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from mmsearch_agents import AGENTS, Dataset, Decision, Rollouts, make_learner, play, train
from mmsearch_env.vector import MMSearchVectorEnv

ROWS = 3


def dqn(envs):
    """Make a learner of Stable-Baselines3 that learns from its first episodes on."""
    pytest.importorskip("stable_baselines3", reason="the extra `sb3` is not installed")
    from mmsearch_agents.sb3 import SB3Learner

    return SB3Learner.create("DQN", envs, seed=1, learning_starts=4, buffer_size=500)


def qwen(envs):
    """Make a policy of random weights, and say where its pictures are."""
    pytest.importorskip("torch", reason="the extra `agents` is not installed")
    pytest.importorskip("transformers", reason="the extra `agents` is not installed")
    from mmsearch_agents.policy import pictures_of
    from tests.learner_models import make_policy

    return make_policy(seed=1), pictures_of(envs.stage)


def sft(envs):
    policy, pictures = qwen(envs)
    from mmsearch_agents.sft import SFTLearner

    return SFTLearner(policy, pictures=pictures)


def grpo(envs):
    policy, pictures = qwen(envs)
    from mmsearch_agents.grpo import GRPOLearner

    return GRPOLearner(policy, pictures=pictures)


def vllm(envs, stack):
    """Make a policy of random weights behind a server on this machine."""
    qwen(envs)  # which skips where it cannot be
    pytest.importorskip("requests", reason="the extra `record` is not installed")
    from mmsearch_agents.vllm import VLLMPolicy
    from tests.learner_models import make_policy
    from tests.vllm_server import TinyVLLM

    server = stack.enter_context(TinyVLLM(make_policy(seed=1).model))
    return VLLMPolicy(server.url().rstrip("/"), envs.stage.codec, seed=1)


LEARNERS: dict[str, Any] = {name: (lambda envs, name=name: make_learner(name, envs, seed=1)) for name in AGENTS}
LEARNERS |= {"sb3": dqn, "sft": sft, "grpo": grpo, "vllm": vllm}
SHORT: dict[str, Any] = {"prompts": "short", "max_tokens": 96}
"""For policies that have not learned to come to an end."""


@pytest.fixture(params=sorted(LEARNERS))
def name(request):
    return request.param


@pytest.fixture
def make(name):
    with ExitStack() as stack:
        yield (lambda envs: vllm(envs, stack)) if name == "vllm" else LEARNERS[name]


@pytest.fixture
def make_envs(name, tiny_world):
    def make(rows):
        options: dict[str, Any] = SHORT if name in ("sft", "grpo", "vllm") else {}
        return MMSearchVectorEnv(rows, tiny_world, split=None, autoreset_mode=AutoresetMode.DISABLED, **options)

    return make


@pytest.fixture
def envs(make_envs):
    return make_envs(ROWS)


def played(learner, envs):
    task_ids = [task.id for task in envs.stage.tasks]
    found = dict(play(learner, envs, task_ids, deterministic=True))
    return [found[position] for position in range(len(task_ids))]


def test_act_gives_one_id_of_the_vocabulary_per_row(make, envs):
    learner = make(envs)
    observations, _ = envs.reset(seed=0)
    for _ in range(30):
        decision = learner.act(observations)
        assert isinstance(decision, Decision)
        assert np.asarray(decision.token_ids).shape == (ROWS,)
        assert np.issubdtype(np.asarray(decision.token_ids).dtype, np.integer)
        assert decision.logprobs is None or np.asarray(decision.logprobs).shape == (ROWS,)
        observations, *_ = envs.step(decision.token_ids)


def test_learn_returns_metrics_as_floats(make, envs):
    learner = make(envs)
    metrics = learner.learn(played(learner, envs)[:4])
    assert all(isinstance(name, str) and isinstance(value, float) for name, value in metrics.items())


def test_a_saved_learner_acts_as_before(make, envs, tmp_path):
    learner = make(envs)
    learner.save(tmp_path / "saved")
    by_class = type(learner).load(tmp_path / "saved")
    by_path = make_learner(tmp_path / "saved", envs)
    before = played(learner, envs)
    assert played(by_class, envs) == before
    assert played(by_path, envs) == before


def test_the_same_seed_gives_the_same_trajectories_in_any_number_of_rows(make, make_envs):
    assert played(make(make_envs(ROWS)), make_envs(ROWS)) == played(make(make_envs(ROWS)), make_envs(ROWS))
    alone, together = (played(make(make_envs(rows)), make_envs(rows)) for rows in (1, ROWS))
    # Log-probabilities of a larger batch may differ in their last digits.
    assert [replace(one, logprobs=None) for one in alone] == [replace(one, logprobs=None) for one in together]
    for one, other in zip(alone, together, strict=True):
        assert (one.logprobs is None) == (other.logprobs is None)
        assert one.logprobs is None or np.allclose(one.logprobs, other.logprobs, atol=1e-4)


def test_every_episode_ends_and_masks_what_was_sampled(make, envs):
    for trajectory in played(make(envs), envs):
        assert trajectory.terminated or trajectory.truncated
        assert int(trajectory.loss_mask.sum()) == sum(turn.end - turn.start for turn in trajectory.turns)


def test_it_trains_on_rollouts_and_on_a_dataset(make, envs):
    learner = make(envs)
    source = Rollouts(envs=envs, group_size=2, tasks_per_batch=2, seed=0)
    history = train(learner, source, updates=2)
    assert [metrics["episodes"] for metrics in history] == [4.0, 4.0]
    stored = [trajectory for batch in islice(source.batches(learner), 1) for trajectory in batch]
    history = train(learner, Dataset(trajectories=stored, batch_size=3, epochs=2))
    assert [metrics["episodes"] for metrics in history] == [3.0, 1.0, 3.0, 1.0]
    assert all(isinstance(value, float) for metrics in history for value in metrics.values())
