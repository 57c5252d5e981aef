"""Two processes that learn together with ZeRO make the step that one makes on the whole batch."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="the extra `agents` is not installed")
pytest.importorskip("transformers", reason="the extra `agents` is not installed")
pytest.importorskip("accelerate", reason="the extra `agents` is not installed")
from safetensors.torch import load_file  # noqa: E402

from mmsearch_agents.accelerated import Accelerated  # noqa: E402
from mmsearch_agents.deepspeed_engine import ZeroEngine  # noqa: E402
from mmsearch_agents.policy import pictures_of  # noqa: E402
from mmsearch_env import save_trajectories  # noqa: E402
from mmsearch_env.errors import ConfigurationError, MissingExtraError  # noqa: E402
from tests.deepspeed_worker import NAMES, case_of, going_on, outcome  # noqa: E402
from tests.learner_models import equal, make_envs, two_groups  # noqa: E402
from tests.processes_worker import learner_of, run_two  # noqa: E402

torch.set_num_threads(1)
STAGES = (1, 2)
# DeepSpeed adds up in float32, and in another order than one process: the squares of gradients differ by 1e-5 of the
# largest after a step, and weights by 3e-5 after twelve.
TOLERANCE = 1e-4
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def envs(tiny_world):
    return make_envs(tiny_world)


@pytest.fixture(scope="module")
def episodes(envs):
    return two_groups(envs)


@pytest.fixture(scope="module")
def together(episodes, envs, tiny_world, tiny_world_path, tmp_path_factory):
    """A folder with what two processes made of every case, and their results."""
    pytest.importorskip("deepspeed", reason="the extra `deepspeed` is not installed")
    folder = tmp_path_factory.mktemp("deepspeed")
    save_trajectories(folder / "episodes.jsonl", episodes, tiny_world)
    learner = learner_of(case_of("sft-nothing"), pictures_of(envs.stage))
    learner.learn(episodes)
    learner.save(folder / "alone")
    return folder, run_two("tests.deepspeed_worker", folder, tiny_world_path, DS_ACCELERATOR="cpu")


@pytest.fixture(scope="module")
def alone(episodes, envs):
    """What one process makes of a case; asked again, it is not made again."""
    return cache(lambda name: outcome(name, episodes, pictures_of(envs.stage)))


def tensors_of(folder, name):
    return [load_file(folder / f"{name}.{rank}.safetensors") for rank in range(2)]


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert float((found[key] - value).abs().max()) <= TOLERANCE * float(value.abs().max()), key


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", NAMES)
def test_the_steps_of_two_are_those_of_one_on_the_whole_batch(stage, name, together, alone):
    folder, results = together
    expected, metrics = alone(name)
    first, second = tensors_of(folder, f"{stage}-{name}")
    assert_close(first, expected)  # the first moments are the gradients of the first step
    assert equal(second, {key: first[key] for key in second})
    assert {key for key in first if key.startswith("weight")} == second.keys()
    for rank in range(2):
        for step, row in enumerate(metrics):
            told = results[rank][f"{stage}-{name}"][step]
            assert {key: told[key] for key in row} == pytest.approx(row, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", ["whole", "bf16"])
def test_two_that_were_stopped_go_on_as_if_they_had_not_been(stage, kind, together):
    folder, results = together
    straight, resumed = (tensors_of(folder, f"{stage}-{kind}-{name}") for name in ("straight", "resumed"))
    for rank in range(2):
        assert equal(straight[rank], resumed[rank])
        assert results[rank][f"{stage}-{kind}-straight"] == results[rank][f"{stage}-{kind}-resumed"]
    assert not torch.equal(*(one.pop("drawn") for one in straight))  # each samples for itself
    assert equal(*straight)


@pytest.mark.parametrize("stage", STAGES)
def test_two_go_on_from_what_one_saved(stage, together, episodes, envs):
    folder, _ = together
    expected = going_on(folder / "alone", episodes, pictures_of(envs.stage))
    for found in tensors_of(folder, f"{stage}-going-on"):
        assert_close(found, expected)


@pytest.mark.parametrize("stage", STAGES)
def test_what_two_saved_is_what_one_goes_on_from(stage, together):
    folder, _ = together
    checkpoint = folder / f"{stage}-whole" / "straight" / "000003"
    learner = type(learner_of(case_of("minibatches"), None)).load(checkpoint, dtype=torch.float32)
    written = load_file(checkpoint / "training.safetensors")
    moments = {key: value for key, value in written.items() if key.startswith("optimizer/")}
    assert equal(moments, {f"optimizer/{key}": value for key, value in learner._optimizer.tensors().items()})
    assert learner._optimizer.steps == 12


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("kind", "tolerance"), [("whole", 1e-5), ("bf16", 2**-8)])
def test_a_loss_that_is_not_finite_leaves_the_weights_and_no_gradients(stage, kind, tolerance, together):
    folder, results = together
    for rank, found in enumerate(tensors_of(folder, f"{stage}-{kind}-refused")):
        assert torch.equal(found["0"], found["1"])
        assert results[rank][f"{stage}-{kind}-refused"] == 1
        # The gradients of three weights and a bias are 2 each, and clipped together to a norm of 1: 1/2.
        expected = found["0"] * (1 - 1e-2 * 0.1) - 1e-2 * 0.5 / (0.5 + 1e-3)
        assert torch.allclose(found["2"], expected, rtol=tolerance)


def accelerator(stage=2, mixed_precision="bf16", offload=None):
    return SimpleNamespace(
        distributed_type=SimpleNamespace(value="DEEPSPEED"),
        deepspeed_plugin=SimpleNamespace(zero_stage=stage, offload_optimizer_device=offload, deepspeed_config={}),
        is_fsdp2=False, mixed_precision=mixed_precision, process_index=0, num_processes=2,
    )  # fmt: skip


@pytest.mark.parametrize(("stage", "mixed_precision"), [(0, "bf16"), (3, "bf16"), (2, "fp16")])
def test_other_stages_and_fp16_are_refused(stage, mixed_precision):
    with pytest.raises(ConfigurationError, match=f"got DEEPSPEED with ZeRO stage {stage} .*{mixed_precision}"):
        Accelerated(accelerator(stage, mixed_precision))


def test_weights_that_are_not_in_float32_are_refused_without_mixed_precision():
    model = torch.nn.Linear(2, 1, dtype=torch.bfloat16)
    with pytest.raises(ConfigurationError, match=r"torch\.float32 .* got torch\.bfloat16"):
        ZeroEngine(accelerator(mixed_precision="no"), model, torch.optim.AdamW(model.parameters()), 1.0)


def test_a_state_that_is_to_be_offloaded_is_refused():
    model = torch.nn.Linear(2, 1)
    with pytest.raises(ConfigurationError, match="offload_optimizer_device='cpu'"):
        ZeroEngine(accelerator(offload="cpu"), model, torch.optim.AdamW(model.parameters()), 1.0)


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setattr("mmsearch_agents.accelerated.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"mmsearch-env\[deepspeed\]"):
        Accelerated()
