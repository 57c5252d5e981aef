"""What the tiny policies reach on atlas test, and how GRPO changed them: `python -m benchmarks.tiny_policies RUNS`.

`python -m modelgen` makes the policies; RUNS holds one folder per run, named as in `_RUNS`, with logs and `policy/`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from mmsearch_agents import make_learner
from mmsearch_agents.evaluate import sample_tasks
from mmsearch_agents.learner import Learner
from mmsearch_agents.metrics import SEARCH_KINDS, Score, measure, score
from mmsearch_agents.policy import QwenPolicy
from mmsearch_agents.sft import SFTLearner
from mmsearch_agents.sources import play
from mmsearch_env.trajectory import Trajectory
from mmsearch_env.vector import MMSearchVectorEnv
from modelgen.dialogues import ENVIRONMENT, teacher_episodes

RESULTS = Path(__file__).parent / "results"
SCRIPTED = ("direct", "rag", "agent", "refiner", "oracle")
_RUNS = {
    "tiny-base": "base",
    "tiny-sft": "sft",
    "GRPO, seed 0 (tiny-grpo)": "grpo-0",
    "GRPO, seed 1": "grpo-1",
    "GRPO, seed 2": "grpo-2",
    "SFT, answers right": "sft-right",
    "GRPO from it, seed 0": "grpo-right-0",
    "GRPO from it, seed 1": "grpo-right-1",
    "GRPO from it, seed 2": "grpo-right-2",
}
_PARTS: Mapping[str, Callable[[Score], bool]] = {
    "all": lambda one: True,
    "needs search": lambda one: one.task.needs_search,
    "needs none": lambda one: not one.task.needs_search,
    "several things": lambda one: one.task.needs_search and len(one.task.entities) > 1,
    "one hop": lambda one: one.task.category == "one_hop",
    "refine": lambda one: one.task.category == "refine",
    "two hops": lambda one: one.task.category == "two_hop",
    "comparison": lambda one: one.task.category == "comparison",
}
_CATEGORIES = ("one hop", "refine", "two hops", "comparison")
_COUNTED: Sequence[tuple[str, Sequence[str]]] = (
    ("all", ("text",)),
    ("all", ("image",)),
    ("all", ("crop",)),
    ("several things", ("crop",)),
    ("several things", ("image",)),
    ("needs none", SEARCH_KINDS),
)
_STARTS = {"tiny-sft": "GRPO, seed", "SFT, answers right": "GRPO from it, seed"}
_CURVE = ("reward", "kl", "searches/text", "searches/image", "searches/crop", "entropy")


def main() -> None:
    """Measure every policy that is there and the scripted agents; write table, figures and curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs/tiny"), help="the folder of the runs")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--split", default="test")
    parser.add_argument("--episodes", type=int, help="how many tasks; all of the split if left out")
    parser.add_argument("--jobs", type=int, default=1, help="how many policies to measure at a time")
    options = parser.parse_args()
    there = {name: options.runs / run for name, run in _RUNS.items() if (options.runs / run / "policy").exists()}
    lacking = [run for run in _RUNS.values() if options.runs / run not in there.values()]
    if lacking and (not there or options.out == RESULTS):
        print(f"{options.runs} lacks {', '.join(lacking)}: make them with python -m modelgen, or give another --out.")
        return
    measure_one = partial(measured, split=options.split, episodes=options.episodes)
    if options.jobs > 1:
        with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
            rows = dict(zip(there, pool.map(measure_one, there.values()), strict=True))
    else:
        rows = {name: measure_one(run) for name, run in there.items()}
    curves = {name: curve for name, run in there.items() if (curve := read_curve(run / "metrics.jsonl"))}
    envs, task_ids = _played(options.split, options.episodes)
    for name in SCRIPTED:
        rows[f"`{name}`"] = {"greedy": summed(make_learner(name, envs), envs, task_ids)}
    results = {
        "world": envs.stage.world.name,
        "world_hash": envs.stage.world.hash,
        "split": options.split,
        "tasks": len(task_ids),
        "environment": ENVIRONMENT,
        "agents": rows,
        "curves": curves,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "tiny_policies.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (options.out / "tiny_policies.md").write_text(as_markdown(results), encoding="utf-8")
    if curves:
        draw(curves, options.out / "tiny_policies.png")


def measured(run: Path, split: str, episodes: int | None) -> dict[str, Any]:
    """Play the tasks with the policy of a run, greedily and at temperature 1; of a base, measure reading as well."""
    torch.set_num_threads(1)
    envs, task_ids = _played(split, episodes)
    policy = QwenPolicy.load(run / "policy", codec=envs.stage.codec)
    learner = SFTLearner(policy)
    row: dict[str, Any] = {"greedy": summed(learner, envs, task_ids)}
    row["sampled"] = summed(learner, envs, task_ids, drawn=True)
    if run.name == "base":
        row["reading"] = reading(policy, split, task_ids)
    print(run.name, json.dumps(row["greedy"]["all"]), flush=True)
    return row


def _played(split: str, episodes: int | None) -> tuple[MMSearchVectorEnv, list[str]]:
    envs = MMSearchVectorEnv(64, split=split, autoreset_mode=AutoresetMode.DISABLED, copy=False, **ENVIRONMENT)
    return envs, sample_tasks(envs.stage.tasks, episodes, seed=0)


def summed(
    learner: Learner, envs: MMSearchVectorEnv, task_ids: Sequence[str], *, drawn: bool = False
) -> dict[str, dict[str, Any]]:
    """Play every task once, greedily or with ids drawn at temperature 1, and sum up the parts of the split."""
    dialect = envs.stage.rules.dialect
    scores = [score(one, dialect) for _, one in play(learner, envs, task_ids, deterministic=not drawn)]
    found = {}
    for name, belongs in _PARTS.items():
        part = [one for one in scores if belongs(one)]
        if part:
            measures = measure(part)
            found[name] = {
                "episodes": measures.episodes,
                "accuracy": round(100 * measures.accuracy, 1),
                "ci95": [round(100 * edge, 1) for edge in measures.accuracy_ci95],
                "format": round(100 * measures.format_rate, 1),
                "reward": round(measures.reward, 4),
                "searches": {kind: round(count, 3) for kind, count in measures.searches.items()},
            }
    return found


def reading(policy: QwenPolicy, split: str, task_ids: Sequence[str]) -> dict[str, Any]:
    """Return by category in % how often a policy answers right at once when the oracle has searched for it.

    Of these tasks, those that the oracle gets right, and whose answer stands in the pages that it found; comparisons,
    whose answer is weighed and not read, count by themselves and not in `all`.
    """
    episodes, _ = teacher_episodes(split)
    envs = MMSearchVectorEnv(1, split=split, autoreset_mode=AutoresetMode.DISABLED, **ENVIRONMENT)
    right: dict[str, list[bool]] = {}
    wanted = set(task_ids)
    for episode in episodes:
        if episode.task.needs_search and episode.task.id in wanted:
            right.setdefault(episode.task.category, []).append(answers(policy, envs, episode))
    read = [one for name, those in right.items() if name != "comparison" for one in those]
    shares = {"all": read, **dict(sorted(right.items()))}
    return {name: round(100 * float(np.mean(those)), 1) for name, those in shares.items()} | {"tasks": len(read)}


def answers(policy: QwenPolicy, envs: MMSearchVectorEnv, episode: Trajectory) -> bool:
    """Say whether a policy, having searched as in `episode`, gives the right answer greedily."""
    observations, _ = envs.reset(options={"task_ids": [episode.task.id]})
    searched = slice(episode.turns[-1].start)
    for token_id in episode.token_ids[searched][episode.loss_mask[searched].astype(np.bool_)]:
        observations, *_ = envs.step(np.array([token_id]))
    ended = False
    while not ended:
        chosen = policy.act(observations, deterministic=True).token_ids
        observations, _, terminations, truncations, infos = envs.step(chosen)
        ended = bool(terminations[0] or truncations[0])
    found: Trajectory = infos["trajectory"][0]
    return found.reward_terms["correct"] == 1.0 and len(found.turns) == len(episode.turns)


def read_curve(path: Path) -> dict[str, list[float]]:
    """Return what a training log says about each update of GRPO; nothing where there was none."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {
        name: [round(line[name], 5) for line in lines if name in line]
        for name in _CURVE
        if all("dead_groups" in line for line in lines)
    }


def as_markdown(results: Mapping[str, Any]) -> str:
    """Word the results as tables."""
    rows = results["agents"]
    options = ", ".join(f"{name}={value!r}" for name, value in results["environment"].items())
    lines = [
        f"# Tiny policies, {results['world']} {results['split']}, {results['tasks']} tasks, world "
        f"{results['world_hash'][:12]}",
        "",
        f"Environment: {options}. Share of right answers in % with its 95 % interval (Wilson), greedy; in the last but "
        "one column with ids drawn at temperature 1.",
        "",
        "| agent | all | needs search | needs none | one hop | refine | two hops | comparison | drawn, all | "
        "well-formed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        greedy = row["greedy"]
        cells = [_share(greedy[part]) if part in greedy else "" for part in ("all", "needs search", "needs none")]
        cells += [f"{greedy[part]['accuracy']:.1f}" if part in greedy else "" for part in _CATEGORIES]
        cells.append(_share(row["sampled"]["all"]) if "sampled" in row else "")
        lines.append(f"| {name} | {' | '.join(cells)} | {greedy['all']['format']:.1f} |")
    lines += [
        "",
        "Searches per task, greedy (and drawn at temperature 1). `several` are the tasks that need a search and whose "
        "picture shows several things.",
        "",
        "| agent | text | whole picture | region | region, several | whole, several | any, where none is needed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        cells = []
        for part, kinds in _COUNTED:
            ways = [row[way][part]["searches"] for way in ("greedy", "sampled") if part in row.get(way, ())]
            greedily, *drawn = [f"{sum(searches[kind] for kind in kinds):.2f}" for searches in ways] or [""]
            cells.append(greedily + "".join(f" ({count})" for count in drawn))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [sentence for start, runs in _STARTS.items() for sentence in _gains(rows, start, runs)]
    read = rows.get("tiny-base", {}).get("reading")
    if read:
        lines += [
            "",
            f"`tiny-base`, when the oracle has searched for it, reads {read['all']} % of {read['tasks']} answers that "
            "stand in the pages found (greedy)"
            + (f", and decides {read['comparison']} % of the comparisons right." if "comparison" in read else "."),
        ]
    if results["curves"]:
        lines += ["", "Training, mean of the first and of the last five updates of 128 episodes:", ""]
        lines += [
            "| run | updates | reward | KL to the start | searches per episode | entropy |",
            "|---|---|---|---|---|---|",
        ]
        for name, curve in results["curves"].items():
            counts = (curve[f"searches/{kind}"] for kind in SEARCH_KINDS)
            searches = [sum(each) for each in zip(*counts, strict=True)]
            cells = [_ends(values) for values in (curve["reward"], curve["kl"], searches, curve["entropy"])]
            lines.append(f"| {name} | {len(curve['reward'])} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _share(row: Mapping[str, Any]) -> str:
    low, high = row["ci95"]
    return f"{row['accuracy']:.1f} ({low:.1f}–{high:.1f})"


def _gains(rows: Mapping[str, Any], start: str, runs: str) -> Iterator[str]:
    """Word by how much every seed of GRPO is better than what it started from."""
    trained = [row for name, row in rows.items() if name.startswith(runs)]
    if start not in rows or not trained:
        return
    for way, meant in (("greedy", "greedily"), ("sampled", "with ids drawn")):
        parts = []
        for part in ("all", "needs search", "needs none"):
            if part not in rows[start][way]:
                continue
            gains = [row[way][part]["accuracy"] - rows[start][way][part]["accuracy"] for row in trained]
            parts.append(f"{part} {np.mean(gains):+.1f} ({', '.join(f'{gain:+.1f}' for gain in gains)})")
        yield ""
        yield f"GRPO from `{start}`, {meant}, in points (each seed): {'; '.join(parts)}."


def _ends(values: Sequence[float]) -> str:
    return f"{np.mean(values[:5]):.3f} → {np.mean(values[-5:]):.3f}"


def draw(curves: Mapping[str, Any], path: Path) -> None:
    """Draw reward, KL and searches of every run over its updates."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    panels = figure.subplots(1, 3)
    for number, (name, curve) in enumerate(curves.items()):
        searches = np.sum([curve[f"searches/{kind}"] for kind in SEARCH_KINDS], axis=0)
        shown = {"mean reward": curve["reward"], "KL to the start": curve["kl"], "searches per episode": searches}
        for axes, (title, values) in zip(panels, shown.items(), strict=True):
            axes.plot(range(1, len(values) + 1), values, color=f"C{number}", label=name, linewidth=1.2)
            axes.set_title(title, fontsize=10)
            axes.set_xlabel("updates of 128 episodes")
            axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, fontsize=7)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
