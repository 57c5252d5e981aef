"""Trains `tiny-sft` by GRPO on atlas train: `tiny-grpo`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gymnasium.vector import AutoresetMode

from mmsearch_agents import Rollouts, train
from mmsearch_agents.advantages import AdvantageKind
from mmsearch_agents.checkpoints import Checkpoints, resumed
from mmsearch_agents.evaluate import evaluate, sample_tasks
from mmsearch_agents.grpo import GRPOLearner
from mmsearch_agents.policy import QwenPolicy, pictures_of
from mmsearch_agents.presets import get_grpo_preset
from mmsearch_agents.training_log import TrainingLog
from mmsearch_env.vector import MMSearchVectorEnv
from modelgen.dialogues import ENVIRONMENT
from modelgen.keeping import keep


@dataclass(frozen=True)
class Settings:
    """What a run is made of; the rest is the preset `small`.

    Attributes:
        updates: batches of episodes.
        tasks_per_batch: each is played by a group.
        learning_rate: of AdamW.
        advantage: see `GrpoOptions`.
        kl_coef: see there.
        evaluate_every: updates between evaluations.
        evaluate_on: validation tasks each time.
        checkpoint_every: updates between checkpoints.
        seed: of tasks and sampling.
    """

    updates: int = 40
    tasks_per_batch: int = 16
    learning_rate: float = 1e-4
    advantage: AdvantageKind = "mean"
    kl_coef: float = 0.001
    evaluate_every: int = 20
    evaluate_on: int = 200
    checkpoint_every: int = 10
    seed: int = 0


def reinforce(start: Path, folder: Path, settings: Settings) -> None:
    """Train the policy in `start` and leave the result in `folder/policy`, going on from the checkpoint in `folder`."""
    preset = get_grpo_preset("small")
    rate = replace(preset.options.optimizer, learning_rate=settings.learning_rate)
    options = replace(preset.options, optimizer=rate, advantage=settings.advantage, kl_coef=settings.kl_coef)
    envs, validation = (
        MMSearchVectorEnv(64, split=split, autoreset_mode=AutoresetMode.DISABLED, copy=False, **ENVIRONMENT)
        for split in ("train", "validation")
    )
    rollouts = Rollouts(
        envs=envs, group_size=preset.group_size, tasks_per_batch=settings.tasks_per_batch, seed=settings.seed
    )
    ids = sample_tasks(validation.stage.tasks, min(settings.evaluate_on, len(validation.stage.tasks)), seed=0)
    checkpoints = Checkpoints(folder / "checkpoints", every=settings.checkpoint_every)
    latest, pictures = checkpoints.latest(), pictures_of(envs.stage)
    if latest is None:
        policy = QwenPolicy.from_pretrained(start, codec=envs.stage.codec, sampling=preset.sampling, seed=settings.seed)
        learner = GRPOLearner(policy, options.lasting(settings.updates), pictures=pictures, seed=settings.seed)
    else:
        learner = GRPOLearner.load(latest, pictures=pictures, codec=envs.stage.codec)
    save = checkpoints.saver(learner)
    with TrainingLog(folder, total=settings.updates, begin=learner.batches) as log:

        def on_update(update: int, metrics: Mapping[str, float]) -> None:
            if learner.batches % settings.evaluate_every == 0 or learner.batches == settings.updates:
                overall = evaluate(learner, validation, ids).overall
                searches = {f"eval/searches/{kind}": count for kind, count in overall.searches.items()}
                metrics = {**metrics, "eval/accuracy": overall.accuracy, **searches}
            log(update, metrics)
            save(update, metrics)

        source = log.watch(resumed(rollouts, learner.batches))
        train(learner, source, updates=settings.updates - learner.batches, on_update=on_update)
    keep(learner.policy, folder / "policy")
