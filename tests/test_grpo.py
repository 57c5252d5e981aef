"""GRPO: its update against a plain one, what it learns from and what not, and a toy that it has to solve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `agents` is not installed")
pytest.importorskip("transformers", reason="the extra `agents` is not installed")

from mmsearch_agents import Dataset, Rollouts, train  # noqa: E402
from mmsearch_agents.advantages import group_advantages  # noqa: E402
from mmsearch_agents.grpo import GRPOLearner, GrpoOptions  # noqa: E402
from mmsearch_agents.grpo.selection import fatal_end, select  # noqa: E402
from mmsearch_agents.losses import engine_correction, kl_terms, policy_terms, token_weights  # noqa: E402
from mmsearch_agents.optimization import OptimizerOptions  # noqa: E402
from mmsearch_agents.policy import Sample, pictures_of  # noqa: E402
from mmsearch_agents.presets import GRPO_PRESETS, get_grpo_preset  # noqa: E402
from mmsearch_agents.schedules import Schedule  # noqa: E402
from mmsearch_agents.sft import SFTLearner, SftOptions  # noqa: E402
from mmsearch_env.errors import ConfigurationError  # noqa: E402
from mmsearch_env.records import Turn  # noqa: E402
from tests.learner_models import (  # noqa: E402
    Rewarded,
    demonstrations,
    equal,
    gradients_of,
    ids_reward,
    make_envs,
    make_policy,
    two_groups,
    weights_of,
)

torch.set_num_threads(1)
SGD = OptimizerOptions(learning_rate=1e-3)


@pytest.fixture(scope="module")
def envs(tiny_world):
    return make_envs(tiny_world)


@pytest.fixture(scope="module")
def episodes(envs):
    return two_groups(envs)


def learner_of(envs, policy=None, **options):
    options = {"optimizer": SGD, **options}
    policy = make_policy() if policy is None else policy
    return GRPOLearner(policy, GrpoOptions(**options), pictures=pictures_of(envs.stage))


def rewarded(trajectories, rewards):
    return [replace(one, reward=float(reward)) for one, reward in zip(trajectories, rewards, strict=True)]


def shift(trajectories):
    """Return episodes as another engine, or another policy, would have sampled them."""
    rng = np.random.default_rng(0)
    return [
        replace(one, logprobs=np.where(one.loss_mask, one.logprobs + rng.normal(0, 0.3, len(one)), 0).astype("f4"))
        for one in trajectories
    ]


def plain_gradients(envs, trajectories, policy, *, reference=None, old=None, options):
    """Return the gradients of the loss of all episodes in one pass, put together by hand."""
    view = pictures_of(envs.stage)
    batch = policy.collate([Sample.of(one, view) for one in trajectories])
    scores = policy.scorer()(batch, temperature=policy.sampling.temperature, masked=True)
    mask = batch.loss_mask.to(scores.logprobs.dtype)
    sampled = torch.zeros_like(mask)
    for row, one in enumerate(trajectories):
        sampled[row, : len(one)] = torch.from_numpy(one.logprobs)
    old = sampled if old is None else old
    groups = [one.task.id for one in trajectories]
    advantages = group_advantages([one.reward for one in trajectories], groups, kind=options.advantage)
    terms = policy_terms(
        scores.logprobs, old, torch.from_numpy(advantages).to(mask.dtype), mask, ratio=options.ratio,
        clip_low=options.clip_low, clip_high=options.clip_high, dual_clip=options.dual_clip,
    ).losses  # fmt: skip
    if options.engine_correction:
        terms = terms * engine_correction(old, sampled, bound=options.engine_correction)
    if reference is not None and options.kl_place == "loss":
        terms = terms + options.kl_coef * kl_terms(scores.logprobs, reference, estimator=options.kl_estimator)
    weights = token_weights(mask, aggregation=options.aggregation, constant=options.aggregation_constant)
    (terms * weights).sum().backward()
    found = {name: one.grad.clone() for name, one in policy.model.named_parameters() if one.grad is not None}
    policy.model.zero_grad()
    return found, scores.logprobs.detach()


OPTIONS = {
    "defaults": {"kl_coef": 0.0},
    "gspo": {"kl_coef": 0.0, "ratio": "sequence", "aggregation": "sequence_mean", "advantage": "mean_std"},
    "dr": {"kl_coef": 0.0, "aggregation": "sum_over_constant", "aggregation_constant": 64.0, "dual_clip": 3.0},
    "batch": {"kl_coef": 0.0, "advantage": "batch_std", "clip_high": 0.28},
}


@pytest.mark.parametrize("cells", [400, 10_000])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_its_gradients_are_those_of_one_plain_pass_however_it_is_split(envs, episodes, options, cells):
    moved = make_policy(dtype=torch.float64, seed=0)
    with torch.no_grad():
        for weight in moved.model.parameters():
            if weight.requires_grad:
                weight.mul_(1.02)  # so that ratios are not 1, and some are clipped
    options = {"optimizer": SGD, **options}
    expected, _ = plain_gradients(envs, episodes, moved, options=GrpoOptions(**options))
    learner = learner_of(envs, moved, **options, cells_per_pass=cells)
    found = gradients_of(learner, lambda: learner.learn(episodes))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-6, atol=1e-9), name


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
@pytest.mark.parametrize("reference", ["start", "adapters_off"])
def test_the_divergence_is_from_the_reference(envs, episodes, estimator, reference):
    policy = make_policy(rank=4)
    view = pictures_of(envs.stage)
    batch = policy.collate([Sample.of(one, view) for one in episodes])
    options = {"kl_coef": 0.5, "kl_estimator": estimator, "reference": reference}
    learner = learner_of(envs, policy, **options)
    with torch.no_grad():
        start = policy.scorer()(batch, masked=True).logprobs
        with policy.reference():
            below = policy.scorer()(batch, masked=True).logprobs
        for name, weight in policy.model.named_parameters():
            if "lora_B" in name:
                weight.add_(0.03)
    target = start if reference == "start" else below
    assert not torch.allclose(start, below)
    expected, now = plain_gradients(envs, episodes, policy, reference=target, options=learner.options)
    metrics = {}
    found = gradients_of(learner, lambda: metrics.update(learner.learn(episodes)))
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-6), name
    mask = batch.loss_mask
    kl = kl_terms(now, target, estimator=estimator)[mask].mean()
    assert metrics["kl"] == pytest.approx(float(kl), rel=1e-3, abs=1e-6)


def test_the_reference_stays_what_it_was_while_the_policy_learns(envs, episodes):
    learner = learner_of(envs, kl_coef=1e-6)
    before = weights_of(learner)
    metrics = [learner.learn(episodes) for _ in range(2)]
    assert metrics[0]["kl"] == pytest.approx(0.0, abs=1e-9)
    assert metrics[1]["kl"] > 1e-4
    assert equal(dict(learner._start.tensors()), before)
    assert not equal(weights_of(learner), before)


def test_the_divergence_in_the_reward_is_taken_off_before_advantages_are(envs, episodes):
    policy, episodes = make_policy(rank=4), shift(episodes)
    options = {"kl_coef": 0.2, "kl_estimator": "k1", "kl_place": "reward", "reference": "adapters_off"}
    learner = learner_of(envs, policy, **options)
    view = pictures_of(envs.stage)
    batch = policy.collate([Sample.of(one, view) for one in episodes])
    with torch.no_grad(), policy.reference():
        reference = policy.scorer()(batch, masked=True).logprobs
    rewards = []
    for row, one in enumerate(episodes):
        own = np.flatnonzero(one.loss_mask)
        rewards.append(one.reward - 0.2 * float((one.logprobs[own] - reference[row].numpy()[own]).sum()))
    plain = GrpoOptions(optimizer=SGD, kl_coef=0.0)
    expected, _ = plain_gradients(envs, rewarded(episodes, rewards), policy, options=plain)
    found = gradients_of(learner, lambda: learner.learn(episodes))
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-6), name


@pytest.mark.parametrize("bound", [None, 1.01])
def test_recomputed_logprobs_stand_in_for_sampled_ones_and_correct_the_engine(envs, episodes, bound):
    shifted = shift(episodes)
    policy = make_policy()
    learner = learner_of(envs, policy, kl_coef=0.0, old_logprobs="recomputed", engine_correction=bound)
    view = pictures_of(envs.stage)
    with torch.no_grad():
        old = policy.scorer()(policy.collate([Sample.of(one, view) for one in episodes]), masked=True).logprobs
    expected, _ = plain_gradients(envs, shifted, policy, old=old, options=learner.options)
    metrics = {}
    found = gradients_of(learner, lambda: metrics.update(learner.learn(shifted)))
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-6), name
    assert metrics["kl_sampled"] > 0.01
    assert metrics["clip_fraction"] == 0.0


def test_several_epochs_and_minibatches_make_as_many_steps_and_move_away_from_the_sampler(envs, episodes):
    learner = learner_of(envs, kl_coef=0.0, epochs=2, minibatches=3)
    metrics = learner.learn(episodes)
    assert metrics["steps"] == 6.0
    assert metrics["kl_sampled"] > 1e-6
    once = learner_of(envs, kl_coef=0.0).learn(episodes)
    assert once["steps"] == 1.0
    assert once["kl_sampled"] == pytest.approx(0.0, abs=1e-7)


def test_dynamic_sampling_learns_from_groups_with_spread_as_if_there_were_no_others(envs, episodes):
    mixed = rewarded(episodes, [1, 1, 1, 1, 0, 1, 0, 0])
    learner = learner_of(envs, kl_coef=0.0, dynamic_sampling=True)
    metrics = {}
    found = gradients_of(learner, lambda: metrics.update(learner.learn(mixed)))
    alone = learner_of(envs, kl_coef=0.0)
    expected = gradients_of(alone, lambda: alone.learn(mixed[4:]))
    assert equal(found, expected)
    assert (metrics["dead_groups"], metrics["dropped_groups"], metrics["steps"]) == (0.5, 1.0, 1.0)


def test_without_spread_dynamic_sampling_makes_no_step_and_says_so(envs, episodes):
    learner = learner_of(envs, dynamic_sampling=True)
    before = weights_of(learner)
    metrics = learner.learn(rewarded(episodes, [1] * 8))
    assert equal(weights_of(learner), before)
    assert (metrics["steps"], metrics["dropped_groups"], learner.batches) == (0.0, 2.0, 1)
    assert "loss" not in metrics


def test_a_world_fault_neither_counts_in_its_group_nor_is_learned_from(envs, episodes):
    first = rewarded(episodes[:4], [1, 0, 1, 0])
    broken = replace(episodes[3], truncated=True, cause="fault: no answer", reward=0.0)
    learner = learner_of(envs, kl_coef=0.0)
    found = gradients_of(learner, lambda: learner.learn([*first[:3], broken]))
    alone = learner_of(envs, kl_coef=0.0)
    expected = gradients_of(alone, lambda: alone.learn(first[:3]))
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-7), name


def test_truncated_episodes_count_in_their_group_but_are_not_learned_from_if_masked(envs, episodes):
    cut = [replace(one, truncated=index == 1, cause=None) for index, one in enumerate(episodes[:4])]
    chosen = select(cut, GrpoOptions(mask_truncated=True), pictures_of(envs.stage))
    assert [bool(sample.loss_mask.any()) for sample in chosen.samples] == [True, False, True, True]
    assert chosen.scored.all()
    kept = select(cut, GrpoOptions(), pictures_of(envs.stage))
    assert all(sample.loss_mask.any() for sample in kept.samples)


def refused(*errors):
    return tuple(
        Turn(kind="text_search", text="", start=80 + 2 * index, end=82 + 2 * index, error=error)
        for index, error in enumerate(errors)
    )


@pytest.mark.parametrize(
    ("errors", "end"),
    [
        (("bad", "bad", None, "bad"), None),
        (("bad", "bad", "bad"), 86),
        ((None, "bad", "bad", "bad", "bad"), 88),
        (("bad", "fault: timeout", "bad", "bad"), None),
    ],
)
def test_the_fatal_turn_is_the_last_of_refusals_in_a_row(episodes, errors, end):
    assert fatal_end(replace(episodes[0], turns=refused(*errors)), 3) == end
    assert fatal_end(replace(episodes[0], turns=refused(*errors)), None) is None


def test_after_fatal_refusals_nothing_is_learned_and_the_episode_is_not_punished(envs, episodes):
    wrong = replace(episodes[0], turns=refused("bad", "bad"), reward=0.0)
    others = rewarded(episodes[1:4], [1, 1, 1])
    chosen = select([wrong, *others], GrpoOptions(fatal_tool_errors=2), pictures_of(envs.stage))
    assert not chosen.samples[0].loss_mask[84:].any()
    assert chosen.samples[0].loss_mask[:84].tolist() == (episodes[0].loss_mask[:84] == 1).tolist()
    advantages = chosen.advantages(GrpoOptions())
    assert advantages[0] == 0.0
    assert (advantages[1:] > 0).all()


def test_the_order_of_episodes_does_not_matter(envs, episodes):
    straight, shuffled = learner_of(envs), learner_of(envs)
    first = gradients_of(straight, lambda: straight.learn(episodes))
    second = gradients_of(shuffled, lambda: shuffled.learn(episodes[::-1]))
    for name, gradient in first.items():
        assert torch.allclose(second[name], gradient, rtol=1e-4, atol=1e-7), name


def test_what_does_not_fit_is_refused(envs, episodes):
    for options in (
        {"ratio": "word"}, {"kl_place": "nowhere"}, {"epochs": 0}, {"aggregation": "sum_over_constant"},
        {"engine_correction": 2.0}, {"fatal_tool_errors": 0}, {"kl_coef": -1.0},
    ):  # fmt: skip
        with pytest.raises(ConfigurationError):
            GrpoOptions(**options)
    silent = [replace(one, logprobs=None) for one in episodes]
    with pytest.raises(ConfigurationError, match="old_logprobs='recomputed'"):
        learner_of(envs).learn(silent)
    assert learner_of(envs, old_logprobs="recomputed", kl_coef=0.0).learn(silent)["steps"] == 1.0
    with pytest.raises(ConfigurationError, match="pictures_of"):
        GRPOLearner(make_policy()).learn(episodes)
    for empty in (learner_of(envs), SFTLearner(make_policy(), pictures=pictures_of(envs.stage))):
        with pytest.raises(ConfigurationError, match="got none"):
            empty.learn([])
    frozen = make_policy()
    frozen.model.requires_grad_(False)
    with pytest.raises(ConfigurationError, match="requires_grad"):
        GRPOLearner(frozen)


def test_gradients_that_are_not_finite_leave_the_weights_as_they_are(envs, episodes):
    learner = learner_of(envs)
    before = weights_of(learner)
    broken = [replace(one, logprobs=np.where(one.loss_mask, np.nan, 0).astype(np.float32)) for one in episodes]
    with pytest.raises(FloatingPointError, match="finite"):
        learner.learn(broken)
    assert equal(weights_of(learner), before)


def test_the_metrics_are_what_alarms_and_logs_read(envs, episodes):
    metrics = learner_of(envs).learn(episodes)
    names = {"loss", "policy_loss", "entropy", "clip_fraction", "kl", "kl_sampled", "gradient_norm", "learning_rate"}
    names |= {"dead_groups", "dropped_groups", "steps", "accuracy", "faults", "tokens", "turns", "truncated"}
    names |= {"searches/text", "searches/image", "searches/crop", "term/correct", "term/format"}
    assert names <= metrics.keys()
    assert all(isinstance(value, float) for value in metrics.values())
    assert metrics["tokens"] == np.mean([one.loss_mask.sum() for one in episodes])


def test_after_an_update_nothing_is_used_that_was_read_before(envs):
    learner = learner_of(envs, optimizer=OptimizerOptions(learning_rate=1e-2))
    source = Rewarded(Rollouts(envs=envs, group_size=4, tasks_per_batch=2), ids_reward)
    history = train(learner, source, updates=3)
    assert all(metrics["kl_sampled"] < 1e-9 for metrics in history)  # what is scored is what was sampled
    assert history[2]["kl"] > 1e-3


def test_it_solves_a_toy(tiny_world):
    """A policy that says yes and no by turns learns which of the two pays."""
    envs = make_envs(tiny_world, rows=32, max_tokens=128)
    policy, view = make_policy(), pictures_of(envs.stage)
    speaks = SFTLearner(policy, SftOptions(optimizer=OptimizerOptions(learning_rate=1e-2)), pictures=view)
    train(speaks, Dataset(trajectories=demonstrations(envs, "yes", "no"), batch_size=20, epochs=80))
    options = GrpoOptions(optimizer=OptimizerOptions(learning_rate=1e-3), advantage="mean_std", kl_coef=0.0)
    learner = GRPOLearner(policy, options, pictures=view)
    source = Rewarded(Rollouts(envs=envs, tasks_per_batch=4), lambda one: one.answer == "yes")
    rewards = [metrics["reward"] for metrics in train(learner, source, updates=12)]
    assert 0.2 < rewards[0] < 0.7
    assert np.mean(rewards[5:]) > 0.8


def test_presets_keep_the_contradictions_of_the_paper():
    main, appendix = get_grpo_preset("paper_main"), get_grpo_preset("paper_appendix")
    assert (main.epochs, main.tasks_per_batch, main.options.minibatches) == (30, 512, 1)
    assert (appendix.epochs, appendix.tasks_per_batch, appendix.options.minibatches) == (20, 256, 4)
    for preset in (main, appendix):
        assert preset.options.advantage == "mean"
        assert preset.options.optimizer.learning_rate == 2e-6
        assert preset.options.optimizer.schedule == Schedule(warmup_steps=45)
        assert (preset.options.kl_coef, preset.group_size) == (0.001, 8)
    assert get_grpo_preset("mmsearch_r1").options.advantage == "mean_std"
    with pytest.raises(ConfigurationError, match="paper_main"):
        get_grpo_preset("paper_mian")


@pytest.mark.parametrize("name", GRPO_PRESETS)
def test_every_preset_trains(name, tiny_world):
    preset = get_grpo_preset(name)
    envs = make_envs(tiny_world, rows=4, **{**preset.env, "prompts": "short"})
    policy = make_policy()
    policy.sampling = preset.sampling
    learner = GRPOLearner(policy, preset.options.lasting(2), pictures=pictures_of(envs.stage))
    source = Rewarded(Rollouts(envs=envs, group_size=2, tasks_per_batch=2), ids_reward)
    history = train(learner, source, updates=1)
    assert history[0]["steps"] == preset.options.minibatches
