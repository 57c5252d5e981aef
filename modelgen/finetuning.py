"""Fine-tunes `tiny-base` on demonstrations of mixed behaviour: `tiny-sft`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gymnasium.vector import AutoresetMode

from mmsearch_agents import Dataset, train
from mmsearch_agents.evaluate import evaluate, sample_tasks
from mmsearch_agents.optimization import OptimizerOptions
from mmsearch_agents.policy import QwenPolicy, pictures_of
from mmsearch_agents.schedules import Schedule
from mmsearch_agents.sft import SFTLearner, SftOptions
from mmsearch_agents.training_log import TrainingLog
from mmsearch_env.vector import MMSearchVectorEnv
from modelgen.dialogues import ENVIRONMENT
from modelgen.habits import Habits, demonstrate
from modelgen.keeping import keep

OPTIONS = SftOptions(
    optimizer=OptimizerOptions(
        learning_rate=1e-3, betas=(0.9, 0.98), schedule=Schedule(kind="cosine", total=1, warmup_ratio=0.1)
    ),
    cells_per_pass=4096,
)
BATCH_SIZE = 16


@dataclass(frozen=True)
class Settings:
    """What a run is made of.

    Attributes:
        rounds: how often the teacher plays the training split, each time with other choices; each episode is seen once.
        right_only: show only episodes that ended in a right answer, and not all that are well-formed.
        tasks: how many tasks of the split to take; 0 for all.
        evaluate_on: validation tasks at the end.
        seed: of everything.
    """

    rounds: int = 2
    right_only: bool = False
    tasks: int = 0
    evaluate_on: int = 200
    seed: int = 0


def finetune(base: Path, folder: Path, settings: Settings) -> None:
    """Train the policy in `base` and leave the result in `folder/policy`, with the log beside it."""
    least = 1.0 if settings.right_only else 0.1  # 0.9 for a right answer, 0.1 for form
    shown = []
    for number in range(settings.rounds):
        seed = settings.seed * settings.rounds + number
        episodes, stage = demonstrate("train", Habits(), seed=seed, tasks=settings.tasks or None)
        shown += [episode for episode in episodes if episode.reward >= least]
    source = Dataset(trajectories=shown, batch_size=BATCH_SIZE, seed=settings.seed)
    updates = -(-len(shown) // BATCH_SIZE)
    policy = QwenPolicy.from_pretrained(base, codec=stage.codec, seed=settings.seed)
    learner = SFTLearner(policy, OPTIONS.lasting(updates), pictures=pictures_of(stage), seed=settings.seed)
    envs = MMSearchVectorEnv(64, split="validation", autoreset_mode=AutoresetMode.DISABLED, **ENVIRONMENT)
    ids = sample_tasks(envs.stage.tasks, min(settings.evaluate_on, len(envs.stage.tasks)), seed=settings.seed)
    with TrainingLog(folder, total=updates) as log:

        def on_update(update: int, metrics: Mapping[str, float]) -> None:
            if learner.batches == updates:
                overall = evaluate(learner, envs, ids).overall
                metrics = {**metrics, "eval/accuracy": overall.accuracy, "eval/format_rate": overall.format_rate}
            log(update, metrics)

        train(learner, log.watch(source), on_update=on_update)
    keep(learner.policy, folder / "policy")
