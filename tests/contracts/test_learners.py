"""What every learner keeps to; a new one is added to the list."""

from itertools import islice

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from mmsearch_agents import AGENTS, Dataset, Decision, Rollouts, make_learner, play, train
from mmsearch_env.vector import MMSearchVectorEnv

ROWS = 3
LEARNERS = {name: (lambda envs, name=name: make_learner(name, envs, seed=1)) for name in AGENTS}


@pytest.fixture
def envs(tiny_world):
    return MMSearchVectorEnv(ROWS, tiny_world, split=None, autoreset_mode=AutoresetMode.DISABLED)


@pytest.fixture(params=sorted(LEARNERS))
def make(request):
    return LEARNERS[request.param]


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


def test_the_same_seed_gives_the_same_trajectories_in_any_number_of_rows(make, envs, tiny_world):
    alone = MMSearchVectorEnv(1, tiny_world, split=None, autoreset_mode=AutoresetMode.DISABLED)
    assert played(make(alone), alone) == played(make(envs), envs)


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
