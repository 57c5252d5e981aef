"""Of the policies that come with the library, the one that learnt by trying plays better than what it started from."""

from __future__ import annotations

import pytest
from gymnasium.vector import AutoresetMode

pytest.importorskip("torch", reason="the extra `agents` is not installed")
pytest.importorskip("transformers", reason="the extra `agents` is not installed")

from mmsearch_agents import make_learner
from mmsearch_agents.evaluate import evaluate, sample_tasks
from mmsearch_agents.shipped import trained_for
from mmsearch_env.paths import bundled
from mmsearch_env.vector import MMSearchVectorEnv

TASKS = 64
pytestmark = pytest.mark.skipif(
    not [*bundled("models").glob("*/policy.json")], reason="this copy of the library came without policies"
)


@pytest.fixture(scope="module")
def played():
    """What each policy reaches greedily on some tasks of atlas test that need a search, and on some that need none."""
    found = {}
    for name in ("tiny-sft", "tiny-grpo"):
        envs = MMSearchVectorEnv(32, split="test", autoreset_mode=AutoresetMode.DISABLED, **trained_for(name))
        task_ids = sample_tasks(envs.stage.tasks, TASKS, seed=0)
        found[name] = evaluate(make_learner(name, envs), envs, task_ids, agent=name)
    return found


def test_nearly_all_episodes_are_well_formed(played):
    assert all(summary.overall.format_rate > 0.9 for summary in played.values())


def test_trying_made_it_answer_more_and_look_closer(played):
    before, after = (played[name].overall for name in ("tiny-sft", "tiny-grpo"))
    assert after.accuracy > before.accuracy + 0.1
    assert after.searches["crop"] > before.searches["crop"]
    assert after.searches["image"] < before.searches["image"]
