"""Small policies and short episodes for the tests of the learners."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from mmsearch_agents.learner import Decision, Learner
from mmsearch_agents.policy import LoraOptions, QwenPolicy, add_lora, freeze_vision
from mmsearch_agents.sources import Rollouts, play
from mmsearch_env.codec import load_codec
from mmsearch_env.vector import MMSearchVectorEnv
from tests.acting import ids_of, say
from tests.policy_models import small_model

CODEC = load_codec()


def make_envs(world, rows=8, **options):
    """Return rows whose episodes end after some fifteen ids."""
    options = {"split": None, "prompts": "short", "max_tokens": 96, **options}
    return MMSearchVectorEnv(rows, world, autoreset_mode=AutoresetMode.DISABLED, **options)


def make_policy(*, lora=None, seed=0, dtype=torch.float32, rank=0):
    """Return a policy of random weights; with `rank`, of new adapters that do something."""
    model = small_model(CODEC, seed=seed).to(dtype)
    freeze_vision(model)
    if rank:
        model = add_lora(model, LoraOptions(rank=rank), seed=seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(0, 0.05, generator=generator)
    return QwenPolicy(model, CODEC, seed=seed)


def weights_of(learner):
    """Return copies of the trainable weights."""
    return {
        name: weight.detach().clone()
        for name, weight in learner.policy.model.named_parameters()
        if weight.requires_grad
    }


def gradients_of(learner, learn):
    """Return the gradients that `learn` makes, which the optimizer's step would use up."""
    found = {}

    def keep(loss):
        found.update(
            {
                name: weight.grad.detach().clone()
                for name, weight in learner.policy.model.named_parameters()
                if weight.grad is not None
            }
        )
        learner.policy.model.zero_grad()
        return {}

    learner._optimizer.step = keep
    learn()
    return found


def equal(first, second):
    """Say whether two sets of weights are bit-equal."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def as_learner(actor):
    """Let what can only act pass for a learner."""
    return cast(Learner, actor)


class Speaker:
    """Answers each episode at once, with one of the answers in turn."""

    def __init__(self, envs, *answers):
        self.envs, self.begun = envs, 0
        self.turns = [ids_of(envs.stage, say(answer)) for answer in answers]
        self.queues = {}

    def act(self, observations, *, deterministic=False):
        ids = np.zeros(len(observations["length"]), np.int64)
        for row, episode in enumerate(self.envs.episodes):
            if episode is None:
                continue
            if not self.queues.get(row):
                self.queues[row] = list(self.turns[self.begun % len(self.turns)])
                self.begun += 1
            ids[row] = self.queues[row].pop(0)
        return Decision(ids)


def demonstrations(envs, *answers):
    """Return episodes on every task that are answered at once, with each of the answers."""
    task_ids = [task.id for task in envs.stage.tasks for _ in answers]
    return [trajectory for _, trajectory in play(as_learner(Speaker(envs, *answers)), envs, task_ids)]


class Rewarded:
    """A source whose episodes are rewarded by a function of theirs, whatever the environment says."""

    def __init__(self, source, reward):
        self.source, self.reward = source, reward

    def batches(self, learner):
        for trajectories in self.source.batches(learner):
            yield [replace(one, reward=float(self.reward(one))) for one in trajectories]


def ids_reward(trajectory):
    """Return the share of the policy's ids that are even: a reward that every sampled id takes part in."""
    return float((trajectory.actions % 2 == 0).mean())


def two_groups(envs):
    """Return two groups of four episodes that the very policy of `make_policy` played, with rewards that differ."""
    source = Rewarded(Rollouts(envs=envs, group_size=4, tasks_per_batch=2), ids_reward)
    return next(iter(source.batches(make_policy())))
