"""Train PPO, A2C or DQN of Stable-Baselines3 on a menu of moves: `python examples/train_sb3.py --algorithm PPO`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.monitor import Monitor

from mmsearch_agents import make_learner
from mmsearch_agents.evaluate import evaluate, sample_tasks
from mmsearch_agents.metrics import Measures
from mmsearch_agents.sb3 import SB3Learner
from mmsearch_env import load_world
from mmsearch_env.vector import MMSearchVectorEnv
from mmsearch_env.worlds import World
from mmsearch_env.wrappers import MacroActions

# A right answer takes three or four moves in the right order, and most entries end the episode: so explore for long.
HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "PPO": {"n_steps": 1024, "batch_size": 128, "learning_rate": 1e-3, "gamma": 0.98, "ent_coef": 0.02},
    "A2C": {"n_steps": 64, "learning_rate": 1e-3, "gamma": 0.98, "ent_coef": 0.02},
    "DQN": {"learning_rate": 5e-4, "gamma": 0.95, "batch_size": 128, "buffer_size": 50_000, "learning_starts": 2000,
            "train_freq": 1, "target_update_interval": 500, "exploration_fraction": 0.5, "exploration_final_eps": 0.15,
            "policy_kwargs": {"net_arch": [128, 128]}},
}  # fmt: skip


@dataclass(frozen=True)
class Config:
    """What to train, for how long, and where it goes."""

    algorithm: str = "PPO"  # or A2C, DQN
    world: str = "atlas"
    steps: int = 40_000
    seed: int = 0
    eval_every: int = 5_000  # steps
    eval_episodes: int = 100
    out: str = "runs/sb3"


def main(config: Config) -> None:
    """Train, compare with the scripted agents, print the shares of right answers, and write all to `results.json`."""
    world = load_world(config.world)
    results = {"config": asdict(config), **train_and_compare(config, world), "scripted": compare_scripted(world)}
    (Path(config.out) / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for name, row in {config.algorithm: results["result"], **results["scripted"]}.items():
        print(f"{name:>8}: {row['accuracy']:.1%} right ({row['ci95'][0]:.1%} to {row['ci95'][1]:.1%})")


def train_and_compare(config: Config, world: World) -> dict[str, Any]:
    """Train, save the learner, and return the seconds it took, the learning curve, and how it does on validation."""
    out = Path(config.out)
    learner, seconds = train(config, world, out)
    learner.save(out / "model")
    return {"seconds": seconds, "curve": curve(out), "result": compare(learner, world)}


def make_env(world: World, split: str) -> Monitor:
    """Return the menu over one split; nobody keeps an observation of it, so none need be copied."""
    env = gym.make("mmsearch_env:MMSearch-v0", world=world, split=split, copy=False, disable_env_checker=True)
    return Monitor(MacroActions(env))


def train(config: Config, world: World, out: Path) -> tuple[SB3Learner, float]:
    """Let Stable-Baselines3 train in its own loop; return the learner and how many seconds it took."""
    hyperparameters = HYPERPARAMETERS[config.algorithm]
    learner = SB3Learner.create(config.algorithm, make_env(world, "train"), seed=config.seed, **hyperparameters)
    validation = make_env(world, "validation")
    validation.reset(seed=config.seed)
    watch = EvalCallback(
        validation, n_eval_episodes=config.eval_episodes, eval_freq=config.eval_every, log_path=str(out)
    )
    started = time.perf_counter()
    learner.model.learn(config.steps, callback=watch)
    return learner, round(time.perf_counter() - started, 1)


def curve(out: Path) -> dict[str, list[float]]:
    """Return what EvalCallback measured: steps, and the mean return on validation with its standard error."""
    with np.load(out / "evaluations.npz") as measured:
        returns, steps = measured["results"], measured["timesteps"]
    errors = returns.std(axis=1) / returns.shape[1] ** 0.5
    rounded = {"return": returns.mean(axis=1).round(4).tolist(), "standard_error": errors.round(4).tolist()}
    return {"steps": steps.tolist(), **rounded}


def compare(learner: Any, world: World) -> dict[str, Any]:
    """Play all of validation once, greedily, at token level."""
    envs = MMSearchVectorEnv(32, world, split="validation", autoreset_mode=AutoresetMode.DISABLED, copy=False)
    summary = evaluate(learner, envs, sample_tasks(world.tasks("validation")))
    parts = {**summary.by["needs_search"], **summary.by["category"]}
    return {**_row(summary.overall), "parts": {name: _row(part) for name, part in parts.items()}}


def compare_scripted(world: World) -> dict[str, Any]:
    """Do the same with the scripted agents that do not search well."""
    envs = MMSearchVectorEnv(1, world, split="validation", autoreset_mode=AutoresetMode.DISABLED)
    return {agent: compare(make_learner(agent, envs), world) for agent in ("random", "direct")}


def _row(measures: Measures) -> dict[str, Any]:
    row = measures.to_row()
    return {"ci95": row.pop("accuracy_ci95"), **row}


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
