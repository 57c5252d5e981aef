"""Trajectories come from playing every task once, in groups, or from a list."""

from itertools import islice

import pytest
from gymnasium.vector import AutoresetMode

from mmsearch_agents import Dataset, Rollouts, make_learner, play
from mmsearch_env.errors import ConfigurationError
from mmsearch_env.vector import MMSearchVectorEnv
from tests.acting import say
from tests.playing import Repeater


@pytest.fixture
def make_envs(tiny_world):
    def make(num_envs=3, **options):
        options = {"split": None, "autoreset_mode": AutoresetMode.DISABLED, **options}
        return MMSearchVectorEnv(num_envs, tiny_world, **options)

    return make


def ids(envs):
    return [task.id for task in envs.stage.tasks]


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_every_task_is_played_once_whatever_the_number_of_rows(make_envs, rows):
    envs = make_envs(rows)
    found = dict(play(make_learner("refiner", envs), envs, ids(envs)))
    assert [found[position].task.id for position in range(len(found))] == ids(envs)


def test_a_task_may_be_asked_for_several_times(make_envs):
    envs = make_envs()
    wanted = ["tiny-06", "tiny-03", "tiny-06", "tiny-06"]
    found = dict(play(Repeater(envs, say("Orania")), envs, wanted))
    assert [found[position].task.id for position in range(4)] == wanted
    assert found[0] == found[2] == found[3]


def test_no_tasks_give_no_trajectories(make_envs):
    envs = make_envs()
    assert list(play(Repeater(envs, say("1")), envs, [])) == []


def test_rows_that_reset_themselves_are_refused(make_envs):
    envs = make_envs(autoreset_mode=AutoresetMode.NEXT_STEP)
    with pytest.raises(ConfigurationError, match=r"AutoresetMode\.DISABLED"):
        next(play(Repeater(envs, say("1")), envs, ["tiny-00"]))


def test_rollouts_hold_groups_of_the_same_task(make_envs):
    envs = make_envs()
    batch = next(Rollouts(envs=envs, group_size=4, tasks_per_batch=2, seed=3).batches(Repeater(envs, say("1"))))
    names = [trajectory.task.id for trajectory in batch]
    assert len(names) == 8
    assert names[:4] == [names[0]] * 4
    assert names[4:] == [names[4]] * 4
    assert names[0] != names[4]


def test_an_epoch_of_rollouts_draws_each_task_once_in_an_order_of_the_seed(make_envs):
    envs = make_envs()

    def drawn(seed):
        source = Rollouts(envs=envs, group_size=1, tasks_per_batch=5, seed=seed)
        batches = islice(source.batches(Repeater(envs, say("1"))), 2)
        return [trajectory.task.id for batch in batches for trajectory in batch]

    assert sorted(drawn(0)) == sorted(ids(envs))
    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_a_dataset_gives_every_trajectory_once_an_epoch(make_envs):
    envs = make_envs()
    learner = Repeater(envs, say("1"))
    stored = [trajectory for _, trajectory in play(learner, envs, ids(envs))]
    batches = list(Dataset(trajectories=stored, batch_size=4, epochs=2, seed=1).batches(learner))
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    for epoch in (batches[:3], batches[3:]):
        assert sorted(trajectory.task.id for batch in epoch for trajectory in batch) == sorted(ids(envs))
    again = list(Dataset(trajectories=stored, batch_size=4, epochs=2, seed=1).batches(learner))
    assert [[t.task.id for t in batch] for batch in again] == [[t.task.id for t in batch] for batch in batches]
