"""Every level of action drives the same episode: the same ids give the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsearch_env.env import MMSearchEnv
from mmsearch_env.vector import MMSearchVectorEnv
from mmsearch_env.wrappers import SegmentActions, TextActions
from tests.acting import ids_of
from tests.strategies import hostile_texts, moves

DIALECTS = ("deepmmsearch_r1", "mmsearch_r1", "search_r1", "tool_call")


def row_of(trajectory):
    return json.dumps(trajectory.to_row(telemetry=False), sort_keys=True)


def by_token(world, options, turns, task_id):
    env = MMSearchEnv(world, **options)
    env.reset(options={"task_id": task_id})
    for token_id in np.concatenate(turns):
        *_, terminated, truncated, info = env.step(token_id)
        if terminated or truncated:
            break
    return info["trajectory"]


def by_segment(world, options, turns, task_id):
    env = SegmentActions(MMSearchEnv(world, **options))
    env.reset(options={"task_id": task_id})
    for turn in turns:
        # Two stretches per turn: a segment need not be whole.
        for stretch in (turn[: len(turn) // 2], turn[len(turn) // 2 :]):
            if len(stretch):
                *_, terminated, truncated, info = env.step(stretch)
                if terminated or truncated:
                    return info["trajectory"]
    raise AssertionError("the episode did not end")


def by_text(world, options, turns, task_id):
    base = MMSearchEnv(world, **options)
    env, codec = TextActions(base), base.stage.codec
    env.reset(options={"task_id": task_id})
    for turn in turns:
        text = codec.decode(turn[:-1])
        if codec.encode_move(text) != list(turn[:-1]):
            return None
        *_, terminated, truncated, info = env.step(text)
        if terminated or truncated:
            return info["trajectory"]
    raise AssertionError("the episode did not end")


def by_row(world, options, turns, task_id):
    envs = MMSearchVectorEnv(3, world, autoreset_mode=AutoresetMode.DISABLED, **options)
    envs.reset(options={"task_id": task_id})
    stream = np.concatenate(turns)
    # The other rows do something else at the same time: they may not leak into the one that is looked at.
    for step, token_id in enumerate(stream):
        *_, terminations, truncations, infos = envs.step(np.array([step % 50, token_id, 60 + step % 7]))
        if terminations[1] or truncations[1]:
            return infos["trajectory"][1]
    raise AssertionError("the episode did not end")


@st.composite
def episodes(draw):
    """Draw a dialect and the turns of an episode that ends: moves, hostile text, and ids that nobody would write."""
    dialect = draw(st.sampled_from(DIALECTS))
    turns = draw(
        st.lists(st.one_of(moves[dialect], hostile_texts, st.lists(st.integers(0, 4000), max_size=12)), max_size=4)
    )
    return dialect, turns


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(episode=episodes(), task=st.integers(0, 9))
def test_all_levels_give_the_same_trajectory(tiny_world, episode, task):
    dialect, drawn = episode
    options = {"dialect": dialect, "split": None, "prompts": "short", "max_tokens": 900}
    stage = MMSearchEnv(tiny_world, **options).stage
    end = stage.codec.end_of_turn_id
    turns = []
    for turn in [*drawn, "<reason>r</reason><answer>done</answer>"]:
        ids = [token for token in turn if token != end] + [end] if isinstance(turn, list) else ids_of(stage, turn)
        turns.append(np.array(ids))
    # Whatever was drawn, filler at the end makes sure that the episode ends: the context is full.
    turns.append(np.full(900, 17))
    task_id = tiny_world.tasks()[task].id
    token = by_token(tiny_world, options, turns, task_id)
    assert row_of(by_segment(tiny_world, options, turns, task_id)) == row_of(token)
    assert row_of(by_row(tiny_world, options, turns, task_id)) == row_of(token)
    spoken = by_text(tiny_world, options, turns, task_id) if token.cause != "max_tokens" else None
    assert spoken is None or row_of(spoken) == row_of(token)
    # The mask is 1 exactly where an id was an action, and the actions are what was fed, in order.
    fed = np.concatenate(turns)[: int(token.loss_mask.sum())]
    assert np.array_equal(token.actions, fed)
    spans = np.zeros(len(token), np.int8)
    for turn in token.turns:
        spans[turn.start : turn.end] = 1
    assert np.array_equal(spans, token.loss_mask)
    assert (
        stage.codec.image_id not in token.token_ids[token.prompt_length :][token.loss_mask[token.prompt_length :] == 0]
    )


SCRIPT = """
import json, sys
import numpy as np
from mmsearch_env.env import MMSearchEnv
env = MMSearchEnv(sys.argv[1], split=None)
rng = np.random.default_rng(5)
stage = env.stage
queries = ["capital of Redland", "harbour town", "Which flag?"]
for task in stage.tasks:
    env.reset(options={"task_id": task.id})
    for move in ["<img_search><img></img_search>", *[f"<text_search>{q}</text_search>" for q in queries], "nonsense",
                 "<answer>Rougeville</answer>"]:
        for token in [*stage.codec.encode_move("<reason>r</reason>" + move), stage.codec.end_of_turn_id]:
            *_, info = env.step(token)
    print(json.dumps(info["trajectory"].to_row(telemetry=False), sort_keys=True))
"""


def test_two_processes_with_different_hash_seeds_give_the_same_bytes(tiny_world_path):
    root = Path(__file__).parent.parent
    outputs = []
    for hash_seed in ("1", "4242"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": str(root),
            "OMP_NUM_THREADS": hash_seed[0],
        }
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tiny_world_path)], env=environment, capture_output=True, check=True
        )
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert outputs[0].count(b"\n") == 10


def test_stepping_touches_no_global_generator(tiny_world):
    import random

    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()
    env = gym.make("mmsearch_env:MMSearch-v0", world=tiny_world)
    env.reset(seed=3)
    env.step(5)
    assert (random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()) == before
