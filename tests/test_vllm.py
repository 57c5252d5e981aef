"""`VLLMPolicy` against a server that runs the same small model: what it plays, and what is known about it."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

torch = pytest.importorskip("torch", reason="the extra `agents` is not installed")
pytest.importorskip("transformers", reason="the extra `agents` is not installed")
pytest.importorskip("requests", reason="the extra `record` is not installed")

from mmsearch_agents import Rollouts, play, train  # noqa: E402
from mmsearch_agents.grpo import GRPOLearner, GrpoOptions  # noqa: E402
from mmsearch_agents.policy import LoraOptions, QwenPolicy, add_lora, pictures_of  # noqa: E402
from mmsearch_agents.vllm import ServedRollouts, VLLMPolicy, play_turns, sends_adapters  # noqa: E402
from mmsearch_env.errors import ConfigurationError, WebFault  # noqa: E402
from mmsearch_env.vector import MMSearchVectorEnv  # noqa: E402
from tests.loopback import json_answer  # noqa: E402
from tests.policy_models import full_logprobs, small_model  # noqa: E402
from tests.vllm_server import CODEC, NAME, TinyVLLM, placed, talkative  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return talkative(small_model(), by=2.0)


@pytest.fixture
def server(model):
    with TinyVLLM(model) as server:
        yield server


@pytest.fixture
def make_policy(server):
    made = []

    def make(**options):
        made.append(VLLMPolicy(server.url().rstrip("/"), CODEC, **options))
        return made[-1]

    yield make
    for policy in made:
        policy.close()


@pytest.fixture
def make_envs(tiny_world):
    def make(rows=3, **options):
        options = {"split": None, "prompts": "short", "max_tokens": 128, **options}
        return MMSearchVectorEnv(rows, tiny_world, autoreset_mode=AutoresetMode.DISABLED, **options)

    return make


def ids(envs):
    return [task.id for task in envs.stage.tasks]


def played(learner, envs, task_ids, **options):
    found = dict(play(learner, envs, task_ids, **options))
    return [found[position] for position in range(len(task_ids))]


def check_logprobs(model, envs, trajectories, temperature=1.0):
    """Compare with one full pass of transformers over each episode."""
    for one in trajectories:
        own = placed(one)
        oracle = full_logprobs(model, one.token_ids, pictures_of(envs.stage)(one), CODEC, temperature=temperature)
        assert one.logprobs[own] == pytest.approx(oracle[own], abs=1e-4)


@pytest.mark.parametrize("rows", [1, 4])
def test_greedy_episodes_are_those_of_the_model_itself(model, make_policy, make_envs, rows):
    envs = make_envs(rows, max_tokens=224)
    wanted = played(QwenPolicy(model, CODEC), envs, ids(envs)[:6], deterministic=True)
    found = played(make_policy(), envs, ids(envs)[:6], deterministic=True)
    assert max(len(one.turns) for one in found) > 2
    assert len({one.turns[0].end for one in found}) > 3
    for one, other in zip(found, wanted, strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_sampled_ids_have_the_logprobs_of_one_full_pass_at_the_temperature(model, make_policy, make_envs):
    envs = make_envs()
    found = played(make_policy(temperature=0.7, seed=3), envs, ids(envs)[:3] * 2)
    check_logprobs(model, envs, found, temperature=0.7)
    assert found[0].actions.tolist() != found[3].actions.tolist()


def test_the_same_seed_plays_the_same_and_another_one_does_not(make_policy, make_envs):
    envs = make_envs()
    first, again, other = (played(make_policy(seed=seed), envs, ids(envs)[:3]) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_request_per_turn_holds_the_ids_as_they_stand_and_one_picture(server, make_policy, make_envs):
    envs = make_envs(max_tokens=224)
    found = played(make_policy(), envs, ids(envs)[:4])
    assert len(server.requests) == sum(len(one.turns) for one in found)
    streams = [one.token_ids.tolist() for one in found]
    for body in server.requests:
        sent = body["token_ids"]
        assert any(stream[: len(sent)] == sent for stream in streams)
        assert body["sampling_params"]["max_tokens"] == 224 - len(sent)
        assert len(body["content_parts"]) == sent.count(CODEC.image_id) == 1


def test_no_forbidden_id_is_written_however_likely(make_envs):
    model = small_model()
    forbidden = sorted(CODEC.forbidden_ids)
    with torch.no_grad():
        model.get_input_embeddings().weight[forbidden] *= 2
    envs = make_envs()
    with TinyVLLM(model) as server:
        policy = VLLMPolicy(server.url().rstrip("/"), CODEC, temperature=2.0)
        found = played(policy, envs, ids(envs)[:3])
        policy.close()
    assert CODEC.action_mask[np.concatenate([one.actions for one in found])].all()
    check_logprobs(model, envs, found, temperature=2.0)


def test_all_rows_are_asked_for_at_the_same_time(server, make_policy, make_envs):
    envs = make_envs(4)
    policy = make_policy()
    policy.server.check()
    together, answer = threading.Barrier(4, timeout=20), server.routes["/inference/v1/generate"]

    def wait_for_all(asked):
        together.wait()
        return answer(asked)

    server.route("/inference/v1/generate", wait_for_all)
    observations, _ = envs.reset(seed=0)
    assert policy.act(observations).token_ids.shape == (4,)


def test_a_row_that_was_reset_begins_anew_while_the_others_go_on(server, make_policy, make_envs):
    envs = make_envs(2)
    policy = make_policy()
    first, second, third = ids(envs)[:3]
    observations, _ = envs.reset(options={"task_ids": [first, second]})
    for _ in range(3):
        observations, *_ = envs.step(policy.act(observations, deterministic=True).token_ids)
    assert len(server.requests) == 2
    observations, _ = envs.reset(options={"task_ids": [third, None], "reset_mask": np.array([True, False])})
    policy.act(observations, deterministic=True)
    assert len(server.requests) == 3
    length = int(observations["length"][0, 0])
    assert server.requests[2]["token_ids"] == observations["tokens"][0, :length].tolist()


def test_a_new_picture_or_an_id_from_elsewhere_is_a_new_request(server, make_policy, make_envs):
    envs = make_envs(1)
    policy = make_policy()
    observations, _ = envs.reset(seed=0)
    observations, *_ = envs.step(policy.act(observations, deterministic=True).token_ids)
    observations, *_ = envs.step(policy.act(observations, deterministic=True).token_ids)
    assert len(server.requests) == 1
    observations["image"][:] = 7
    policy.act(observations, deterministic=True)
    assert len(server.requests) == 2
    decision = policy.act(observations, deterministic=True)
    observations, *_ = envs.step((decision.token_ids + 1) % 50)
    policy.act(observations, deterministic=True)
    assert len(server.requests) > 2


def test_rows_that_are_over_or_idle_ask_for_nothing(server, make_policy, make_envs):
    envs = make_envs(3)
    policy = make_policy()
    found = played(policy, envs, ids(envs)[:2], deterministic=True)
    assert len(server.requests) == sum(len(one.turns) for one in found)
    empty = {name: np.zeros_like(values) for name, values in envs.reset(seed=0)[0].items()}
    assert policy.act(empty).token_ids.tolist() == [CODEC.end_of_turn_id] * 3


def test_episodes_that_go_their_own_way_are_those_of_the_loop(make_policy, make_envs):
    envs = make_envs(3)
    looped = played(make_policy(), envs, ids(envs)[:4], deterministic=True)
    policy = make_policy(in_flight=3)
    assert play_turns(policy, envs.stage, ids(envs)[:4], deterministic=True) == looped


def test_their_seeds_do_not_depend_on_what_else_is_in_flight(make_policy, make_envs):
    stage, task_ids = make_envs().stage, ids(make_envs())[:2] * 2
    together = play_turns(make_policy(in_flight=4, seed=5), stage, task_ids)
    assert play_turns(make_policy(in_flight=1, seed=5), stage, task_ids) == together
    assert together[0].actions.tolist() != together[2].actions.tolist()
    assert play_turns(make_policy(seed=5), stage, task_ids, first=4) != together


def test_the_first_that_fails_ends_the_others_with_the_turns_they_have_begun(server, make_policy, make_envs):
    envs, policy = make_envs(), make_policy(in_flight=2)
    policy.server.check()
    server.route("/inference/v1/generate", json_answer({"error": "out of memory"}, status=400))
    with pytest.raises(WebFault, match="out of memory"):
        play_turns(policy, envs.stage, ids(envs)[:3] * 20)
    assert len(server.asked("/inference/v1/generate")) <= 1 + 2


def test_a_saved_policy_asks_the_same_server_in_the_same_way(make_policy, make_envs, tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_KEY", "sesame-1234")
    envs = make_envs()
    policy = make_policy(temperature=0.8, top_k=40, seed=4, in_flight=2, key_variable="TINY_KEY")
    policy.save(tmp_path / "served")
    assert "sesame" not in (tmp_path / "served" / "vllm.json").read_text()
    again = VLLMPolicy.load(tmp_path / "served")
    assert played(again, envs, ids(envs)[:2]) == played(policy, envs, ids(envs)[:2])
    again.close()
    (tmp_path / "served" / "vllm.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="to hold a saved policy of a vLLM server"):
        VLLMPolicy.load(tmp_path / "served")


def tuned(model, scale=0.2):
    """Put adapters that do something on a model."""
    found = add_lora(model, LoraOptions(rank=2, alpha=8), seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in found.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, scale, generator=generator)
    return found


def test_grpo_learns_from_what_a_server_sampled_with_the_learners_own_adapters(make_envs, tmp_path):
    envs = make_envs(4, max_tokens=112)
    policy = QwenPolicy(tuned(talkative(small_model(), by=2.0)), CODEC)
    options = GrpoOptions(old_logprobs="recomputed", engine_correction=2.0)
    learner = GRPOLearner(policy, options, pictures=pictures_of(envs.stage))
    with TinyVLLM(talkative(small_model(), by=2.0)) as server:
        served = VLLMPolicy(server.url().rstrip("/"), CODEC)
        source = ServedRollouts(
            policy=served,
            stage=envs.stage,
            group_size=2,
            tasks_per_batch=2,
            before=sends_adapters(policy, served, tmp_path / "adapters"),
        )
        history = train(learner, source, updates=3)
        served.save(tmp_path / "served")
        again = VLLMPolicy.load(tmp_path / "served")
        assert again.server.model == "mmsearch"
        again.close()
        served.server.model = NAME  # the model below the adapters is another policy
        (below,) = train(learner, replace(source, before=None), updates=1)
        served.close()
    # Whoever trains gives what was sampled the same probability as who sampled it: the adapters did arrive, each time.
    assert [metrics["episodes"] for metrics in history] == [4.0] * 3
    assert all(abs(metrics["kl_sampled"]) < 1e-6 for metrics in history)
    assert len(list((tmp_path / "adapters").iterdir())) == 2
    assert below["kl_sampled"] > 1e-3


def test_rollouts_of_a_vector_environment_train_as_well(make_policy, make_envs):
    envs = make_envs(4, max_tokens=112)
    policy = make_policy()
    batch = next(Rollouts(envs=envs, group_size=2, tasks_per_batch=2).batches(policy))
    learner = GRPOLearner(QwenPolicy(small_model(), CODEC), pictures=pictures_of(envs.stage))
    assert all(np.isfinite(value) for value in learner.learn(batch).values())


def test_weights_without_adapters_cannot_be_sent(make_policy, tmp_path):
    with pytest.raises(ConfigurationError, match="with adapters, got one without"):
        sends_adapters(QwenPolicy(small_model(), CODEC), make_policy(), tmp_path)


def test_a_server_that_samples_at_another_temperature_is_refused(make_policy, tmp_path):
    with pytest.raises(ConfigurationError, match=r"temperature 1 of the policy that is trained, got 0\.5"):
        sends_adapters(QwenPolicy(tuned(small_model()), CODEC), make_policy(temperature=0.5), tmp_path)


def test_the_order_of_tasks_is_that_of_rollouts(make_policy, make_envs):
    envs = make_envs(4, max_tokens=90)
    policy = make_policy()
    options: dict[str, Any] = {"group_size": 2, "tasks_per_batch": 3, "seed": 5, "skip": 1}
    sources = Rollouts(envs=envs, **options), ServedRollouts(policy=policy, stage=envs.stage, **options)
    first, second = ([one.task.id for one in next(source.batches(policy))] for source in sources)
    assert first == second


def test_a_server_started_without_its_flag_is_found_out(model, make_envs):
    envs = make_envs(1)
    with TinyVLLM(model, processed=False) as server:
        policy = VLLMPolicy(server.url().rstrip("/"), CODEC)
        with pytest.raises(ConfigurationError, match="--logprobs-mode processed_logprobs"):
            policy.act(envs.reset(seed=0)[0])
        policy.close()
    assert server.requests == []
