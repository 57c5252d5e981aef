"""Two processes that learn together make the step that one makes on the whole batch."""

from __future__ import annotations

import json
from functools import cache

import pytest

torch = pytest.importorskip("torch", reason="the extra `agents` is not installed")
pytest.importorskip("transformers", reason="the extra `agents` is not installed")
pytest.importorskip("accelerate", reason="the extra `agents` is not installed")
from safetensors.torch import load_file  # noqa: E402

from mmsearch_agents import Dataset, Rollouts  # noqa: E402
from mmsearch_agents.accelerated import Accelerated, launched  # noqa: E402
from mmsearch_agents.checkpoints import resumed  # noqa: E402
from mmsearch_agents.episode_metrics import episode_metrics  # noqa: E402
from mmsearch_agents.optimization import Optimizer  # noqa: E402
from mmsearch_agents.policy import pictures_of  # noqa: E402
from mmsearch_agents.processes import ALONE, Processes, part_of  # noqa: E402
from mmsearch_agents.scored_episodes import of_all  # noqa: E402
from mmsearch_env import save_trajectories  # noqa: E402
from mmsearch_env.errors import ConfigurationError  # noqa: E402
from tests.learner_models import demonstrations, equal, make_envs, make_policy, two_groups  # noqa: E402
from tests.processes_worker import ADAMW, CASES, SHARDED, outcome, run_two  # noqa: E402

torch.set_num_threads(1)
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def envs(tiny_world):
    return make_envs(tiny_world)


@pytest.fixture(scope="module")
def episodes(envs):
    return two_groups(envs)


@pytest.fixture(scope="module")
def together(episodes, tiny_world, tiny_world_path, tmp_path_factory):
    """A folder with what two processes made of every case, and their results."""
    folder = tmp_path_factory.mktemp("together")
    save_trajectories(folder / "episodes.jsonl", episodes, tiny_world)
    return folder, run_two("tests.processes_worker", folder, tiny_world_path)


@pytest.fixture(scope="module")
def alone(episodes, envs):
    """What one process makes of a case; asked again, it is not made again."""
    return cache(lambda name: outcome(CASES[name], episodes, pictures_of(envs.stage)))


def tensors_of(folder, name):
    return [load_file(folder / f"{name}.{rank}.safetensors") for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_the_step_of_two_is_that_of_one_on_the_whole_batch(name, together, alone, episodes):
    folder, results = together
    expected, metrics = alone(name)
    tolerance = 1e-6 if CASES[name].dtype == torch.float32 else 1e-10
    for found in tensors_of(folder, name):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            # AdamW makes a whole step of a gradient's rounding error.
            limit = tolerance if key.startswith("gradient") or tolerance < 1e-6 else 1e-3
            assert float((found[key] - value).abs().max()) <= limit * max(float(value.abs().max()), 1e-3), key
    for rank in range(2):
        for step, row in enumerate(metrics):
            told = {key: value for key, value in results[rank][name][step].items() if key not in ("reward", "episodes")}
            assert told == pytest.approx(row, rel=max(tolerance, 1e-5 if step else 0), abs=1e-6)
            assert results[rank][name][step]["episodes"] == len(episodes)


@pytest.mark.parametrize("name", SHARDED)
def test_the_steps_on_shards_are_the_same(name, together, alone):
    folder, results = together
    expected, metrics = alone(name)
    expected = {key: value for key, value in expected.items() if key.startswith("weight")}
    for rank, found in enumerate(tensors_of(folder, f"shards-{name}")):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert float((found[key] - value).abs().max()) <= 1e-10 * max(float(value.abs().max()), 1e-3), key
        for step, row in enumerate(metrics):
            told = results[rank][f"shards-{name}"][step]
            assert {key: told[key] for key in row} == pytest.approx(row, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_both_have_the_same_weights_and_metrics_afterwards(name, together):
    folder, results = together
    assert equal(*tensors_of(folder, name))
    assert results[0][name] == results[1][name]


def test_they_wait_for_one_that_evaluates(together):
    _, results = together
    assert [told["patience"] for told in results] == [7200.0] * 2


def test_nothing_is_left_of_where_values_were_told_once_they_parted(together):
    _, results = together
    assert [told["parted"] for told in results] == [True] * 2


@pytest.mark.parametrize("kind", ["", "shards-"])
def test_two_that_were_stopped_go_on_as_if_they_had_not_been(kind, together):
    folder, results = together
    for rank in range(2):
        straight, resumed = (tensors_of(folder, f"{kind}{name}")[rank] for name in ("straight", "resumed"))
        assert equal(straight, resumed)
        assert results[rank][f"{kind}straight"] == results[rank][f"{kind}resumed"]
    drawn = [one.pop("drawn") for one in tensors_of(folder, f"{kind}straight")]
    assert not torch.equal(*drawn)  # each samples for itself
    first, second = tensors_of(folder, f"{kind}straight")
    del first["drawn"], second["drawn"]
    assert equal(first, second)
    assert [row["episodes"] for row in results[0][f"{kind}straight"]] == [6.0] * 3


class Part(Processes):
    """One of several, which nobody answers."""

    def __init__(self, rank, count):
        self.rank, self.count = rank, count


@pytest.mark.parametrize("count", [2, 3])
def test_every_task_of_a_batch_is_played_by_one_of_them(count, envs):
    whole = Rollouts(envs=envs, group_size=2, tasks_per_batch=4, seed=3)
    batch = [one.task.id for one in next(iter(whole.batches(make_policy())))]
    parts = [part_of(whole, Part(rank, count)) for rank in range(count)]
    played = [[one.task.id for one in next(iter(part.batches(make_policy())))] for part in parts]
    assert [task_id for part in played for task_id in part] == batch
    assert all(len(part) in (2, 4) for part in played)


def test_stored_episodes_are_divided_batch_by_batch(tiny_world):
    shown = demonstrations(make_envs(tiny_world, rows=4, max_tokens=128), "yes")
    source = Dataset(trajectories=shown, batch_size=3, epochs=2, seed=1)
    parts = [list(part_of(source, Part(rank, 2)).batches(make_policy())) for rank in range(2)]
    for whole, first, second in zip(source.batches(make_policy()), *parts, strict=True):
        assert [*first, *second] == whole
    assert resumed(part_of(source, Part(1, 2)), 2).skip == 2
    assert part_of(source, ALONE) is source


def test_batches_smaller_than_the_number_of_processes_are_refused(envs):
    with pytest.raises(ConfigurationError, match="at least 3 tasks"):
        part_of(Rollouts(envs=envs, tasks_per_batch=2), Part(0, 3))


def test_a_source_that_nobody_knows_how_to_divide_is_refused():
    two = Processes()
    two.count = 2
    with pytest.raises(ConfigurationError, match="Rollouts or a Dataset"):
        part_of(object(), two)  # type: ignore[arg-type]


def test_seeds_differ_between_processes_and_the_first_keeps_its_own():
    assert Part(0, 3).seed(7) == ALONE.seed(7) == 7
    assert len({Part(rank, 3).seed(seed) for rank in (1, 2) for seed in (-1, 0, 7)}) == 6


def test_what_others_played_counts_as_if_it_had_been_played_here(episodes):
    class Both(Part):
        def gather(self, value):
            return [json.loads(json.dumps(value))] * 2

    everyone, own = of_all(episodes, Both(1, 2))
    assert own == slice(8, 16)
    assert episode_metrics(everyone) == pytest.approx(episode_metrics(episodes))
    assert episode_metrics(everyone[:8]) == episode_metrics(episodes)
    assert all(one is other for one, other in zip(everyone[own], episodes, strict=True))


def test_a_process_that_nothing_launched_is_alone():
    assert launched() is ALONE
    assert ALONE.main
    assert ALONE.total({"loss": 1.5}) == {"loss": 1.5}
    assert ALONE.gather({"any": 1}) == [{"any": 1}]


def test_shards_of_weights_by_other_names_are_refused():
    optimizer = Optimizer(torch.nn.Linear(2, 1), ADAMW)
    with pytest.raises(ConfigurationError, match=r"2 weights that are trained, got others, such as '0\.bias'"):
        optimizer.train_instead(torch.nn.Sequential(torch.nn.Linear(2, 1)))


def test_what_accelerate_does_in_another_way_is_refused():
    class FirstFSDP:
        class distributed_type:
            value = "FSDP"

        is_fsdp2, mixed_precision = False, "no"

    with pytest.raises(ConfigurationError, match=r"FSDP 2, .* got FSDP and"):
        Accelerated(FirstFSDP())
