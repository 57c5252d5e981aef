"""An evaluation plays what it is told, keeps every episode, and sums up what happened."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from gymnasium.vector import AutoresetMode

from mmsearch_agents.evaluate import evaluate, sample_tasks
from mmsearch_agents.metrics import is_fault, measure, score, wilson_interval
from mmsearch_agents.run_folder import RunFolder
from mmsearch_env.errors import BackendError, ConfigurationError, TrajectoryError
from mmsearch_env.storage import load_image, load_trajectories
from mmsearch_env.vector import MMSearchVectorEnv
from tests.acting import WHOLE, ask, ids_of, look, say
from tests.playing import Repeater

FILES = {"run.json", "trajectories.jsonl", "images", "summary.json", "telemetry.json"}


@pytest.fixture
def make_envs(tiny_world):
    def make(num_envs=2, **options):
        options = {"split": None, **options}
        return MMSearchVectorEnv(num_envs, tiny_world, autoreset_mode=AutoresetMode.DISABLED, **options)

    return make


def all_ids(envs):
    return [task.id for task in envs.stage.tasks]


def run(envs, out, *moves, limit=None, **options):
    options = {"agent": "constant", "seed": 3, **options}
    return evaluate(Repeater(envs, *(moves or [say("1")]), limit=limit), envs, all_ids(envs), out=out, **options)


def test_the_summary_says_what_can_be_counted_by_hand(make_envs, tmp_path):
    envs = make_envs()
    row = run(envs, tmp_path / "run", look("the left flag"), ask("flags"), say("1")).to_row()
    assert row == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    # Of ten tasks the two of perception have the answer 1.
    assert (row["agent"], row["world"], row["split"], row["seed"]) == ("constant", "tiny", None, 3)
    assert row["world_hash"] == envs.stage.world.hash
    assert (row["episodes"], row["accuracy"], row["em"], row["f1"], row["faults"]) == (10, 0.2, 0.2, 0.2, 0)
    assert row["accuracy_ci95"] == pytest.approx([0.0567, 0.5098], abs=1e-4)
    assert row["searches"] == {"text": 1.0, "image": 0.0, "crop": 1.0}
    assert row["format_rate"] == 1.0
    assert row["reward"] == pytest.approx(0.2 * 1.0 + 0.8 * 0.1)
    assert row["tokens"] == len(ids_of(envs.stage, look("the left flag"), ask("flags"), say("1")))
    assert row["settings"]["dialect"] == "deepmmsearch_r1"
    assert set(row["versions"]) >= {"mmsearch_env", "python"}
    parts = {name: {value: (one["episodes"], one["accuracy"]) for value, one in part.items()}
             for name, part in row["by"].items()}  # fmt: skip
    assert parts == {
        "needs_search": {"false": (2, 1.0), "true": (8, 0.0)},
        "category": {
            "comparison": (1, 0.0),
            "one_hop": (2, 0.0),
            "perception": (2, 1.0),
            "refine": (2, 0.0),
            "two_hop": (3, 0.0),
        },
        "domain": {"flags": (9, pytest.approx(2 / 9, abs=1e-6)), "towns": (1, 0.0)},
    }
    fields = {"episodes", "accuracy", "accuracy_ci95", "em", "f1", "searches", "format_rate"}
    assert all(fields <= set(one) for part in row["by"].values() for one in part.values())


def test_episodes_are_kept_in_the_order_of_the_tasks_with_their_pictures(make_envs, tmp_path):
    envs = make_envs(3)
    run(envs, tmp_path / "run", WHOLE, say("1"))
    played = load_trajectories(tmp_path / "run")
    assert [trajectory.task.id for trajectory in played] == all_ids(envs)
    assert all(load_image(tmp_path / "run", digest).size for one in played for digest in one.images)


def test_two_runs_give_the_same_bytes_whatever_the_number_of_rows(make_envs, tmp_path):
    for name, num_envs in (("a", 1), ("b", 1), ("c", 4)):
        run(make_envs(num_envs), tmp_path / name, ask("Redland"), say("Redland"))
    first, second, third = ((tmp_path / name / "summary.json").read_bytes() for name in "abc")
    assert first == second == third
    assert load_trajectories(tmp_path / "a") == load_trajectories(tmp_path / "c")


def test_a_run_that_was_cut_off_is_resumed_and_equals_an_unbroken_one(make_envs, tmp_path):
    run(make_envs(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(make_envs(), tmp_path / "cut", limit=30)
    kept = (tmp_path / "cut" / "trajectories.jsonl").read_bytes()
    assert 0 < kept.count(b"\n") < 10
    assert not (tmp_path / "cut" / "summary.json").exists()
    # The process died while it wrote the next line.
    (tmp_path / "cut" / "trajectories.jsonl").write_bytes(kept + kept[:100])
    steps = []
    run(make_envs(), tmp_path / "cut", existing="resume", on_episode=lambda done, total: steps.append((done, total)))
    assert steps[0] == (kept.count(b"\n"), 10)
    assert steps[-1] == (10, 10)
    assert (tmp_path / "cut" / "summary.json").read_bytes() == (tmp_path / "whole" / "summary.json").read_bytes()
    assert load_trajectories(tmp_path / "cut") == load_trajectories(tmp_path / "whole")
    telemetry = json.loads((tmp_path / "cut" / "telemetry.json").read_text())
    assert telemetry["episodes_resumed"] == kept.count(b"\n")


def test_resuming_a_complete_run_plays_nothing(make_envs, tmp_path):
    run(make_envs(), tmp_path / "run")
    before = (tmp_path / "run" / "trajectories.jsonl").read_bytes()
    run(make_envs(), tmp_path / "run", existing="resume", limit=0)
    assert (tmp_path / "run" / "trajectories.jsonl").read_bytes() == before


def test_episodes_that_ended_out_of_order_are_put_in_order(make_envs, tmp_path):
    run(make_envs(), tmp_path / "run")
    stored = tmp_path / "run" / "trajectories.jsonl"
    in_order = stored.read_bytes()
    stored.write_bytes(b"".join(reversed(in_order.splitlines(keepends=True))))
    run(make_envs(), tmp_path / "run", existing="resume")
    assert stored.read_bytes() == in_order


def test_a_task_that_occurs_twice_is_played_twice_and_resumed_so(make_envs, tmp_path):
    envs = make_envs()
    ids = ["tiny-03", "tiny-06", "tiny-03"]
    with pytest.raises(KeyboardInterrupt):
        evaluate(Repeater(envs, say("1"), limit=20), envs, ids, out=tmp_path / "run")
    summary = evaluate(Repeater(envs, say("1")), envs, ids, out=tmp_path / "run", existing="resume")
    assert [one.task.id for one in load_trajectories(tmp_path / "run")] == ids
    assert summary.overall.accuracy == pytest.approx(2 / 3, abs=1e-6)


def test_a_folder_with_a_run_is_not_overwritten_unless_asked(make_envs, tmp_path):
    run(make_envs(), tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"holds run\.json"):
        run(make_envs(), tmp_path / "run")
    summary = run(make_envs(), tmp_path / "run", say("nobody knows"), existing="replace")
    assert summary.overall.accuracy == 0.0
    assert len(load_trajectories(tmp_path / "run")) == 10
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    with pytest.raises(ConfigurationError, match="Did you mean 'resume'"):
        run(make_envs(), tmp_path / "run", existing="resumed")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agent": "another"}, "agent='another' where it has 'constant'"),
        ({"seed": 4}, "seed=4 where it has 3"),
        ({"max_tokens": 1000}, "max_tokens=1000 where it has 2048"),
        ({"prompts": "short"}, "prompts='short' where it has 'full'"),
        ({"split": "test"}, "episodes=3 where it has 10"),
    ],
)
def test_resuming_with_other_options_is_refused(make_envs, tmp_path, options, message):
    run(make_envs(), tmp_path / "run")
    environment = {name: options[name] for name in ("max_tokens", "prompts", "split") if name in options}
    rest = {name: value for name, value in options.items() if name not in environment}
    with pytest.raises(ConfigurationError, match=message):
        run(make_envs(**environment), tmp_path / "run", existing="resume", **rest)


def test_episodes_of_another_run_are_not_taken_over(make_envs, tmp_path):
    run(make_envs(), tmp_path / "run")
    stored = tmp_path / "run" / "trajectories.jsonl"
    lines = stored.read_bytes().splitlines(keepends=True)
    stored.write_bytes(b"".join([*lines[:4], lines[3]]))
    with pytest.raises(TrajectoryError, match=r"trajectories.jsonl, line 5: .*'tiny-03'"):
        run(make_envs(), tmp_path / "run", existing="resume")
    stored.unlink()
    shutil.rmtree(tmp_path / "run" / "images")
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        run(make_envs(), tmp_path / "run", existing="resume")


def test_a_run_refused_at_its_first_reset_leaves_nothing_behind(make_envs, tmp_path):
    for existing in ("error", "resume", "replace"):
        with pytest.raises(ConfigurationError):
            run(make_envs(max_tokens=20), tmp_path / "run", existing=existing)
        assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    picture = tmp_path / "run" / "images" / f"{'0' * 64}.png"  # as in the folder of a world
    picture.parent.mkdir()
    picture.write_bytes(b"mine")
    with pytest.raises(KeyboardInterrupt):
        run(make_envs(), tmp_path / "run", limit=0)
    assert sorted((tmp_path / "run").rglob("*")) == [picture.parent, picture]
    run(make_envs(), tmp_path / "run")


@pytest.mark.parametrize("content", ["[1]", "5", "[" * 100_000])
def test_a_description_that_is_no_object_is_refused(make_envs, tmp_path, content):
    run(make_envs(), tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"run\.json to say what the run plays"):
        run(make_envs(), tmp_path / "run", existing="resume")


@pytest.mark.parametrize("existing", ["resume", "replace"])
def test_what_a_killed_writer_left_is_swept_away(make_envs, tmp_path, existing):
    run(make_envs(), tmp_path / "run")
    picture = next((tmp_path / "run" / "images").iterdir())
    for stale in (
        tmp_path / "run" / ".trajectories.jsonl.17.partial",
        picture.with_name(f".{picture.name}.17.partial"),
    ):
        stale.write_bytes(b"half")
    (tmp_path / "run" / "my.partial").write_text("mine")
    run(make_envs(), tmp_path / "run", existing=existing)
    assert [path.name for path in (tmp_path / "run").rglob("*.partial")] == ["my.partial"]


def test_only_a_digest_names_a_picture_to_copy(make_envs, tiny_world, tmp_path):
    run(make_envs(), tmp_path / "run")
    (played, *_) = load_trajectories(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(TrajectoryError, match="64 hex digits"):
        folder.copy_pictures(replace(played, images=("../../tasks",)), tiny_world)


def test_a_fault_of_the_world_is_not_a_wrong_answer(make_envs):
    envs = make_envs(on_fault="truncate")
    learner = Repeater(envs, ask("a search that failed"), say("1"))
    with pytest.raises(BackendError, match="the world failed in all 1: fault: "):
        evaluate(learner, envs, ["tiny-03"])


def test_answers_are_judged_anew_where_the_reward_does_not(make_envs, tiny_world):
    class Nothing:
        name = "nothing"

        def __call__(self, finished):
            from mmsearch_env.rewards.reward import Outcome

            return Outcome(0.5, {"constant": 0.5})

    summary = run(make_envs(reward=Nothing()), None)
    assert summary.overall.accuracy == 0.2
    assert summary.overall.reward == 0.5


def test_an_episode_without_an_answer_scores_nothing(make_envs):
    envs = make_envs(max_turns=1)
    summary = run(envs, None, "just talking")
    assert (summary.overall.accuracy, summary.overall.em, summary.overall.f1) == (0.0, 0.0, 0.0)
    assert summary.overall.format_rate == 0.0


def test_without_tasks_there_is_nothing_to_evaluate(make_envs):
    envs = make_envs()
    with pytest.raises(ConfigurationError, match="at least one task"):
        evaluate(Repeater(envs, say("1")), envs, [])
    with pytest.raises(ValueError, match="at least one episode"):
        measure([])


def test_a_sample_is_fixed_by_its_seed_and_grows_at_its_end(tiny_world):
    tasks = tiny_world.tasks()
    everything = sample_tasks(tasks, seed=1)
    assert sorted(everything) == sorted(task.id for task in tasks)
    assert sample_tasks(tasks, 4, seed=1) == everything[:4]
    assert sample_tasks(list(reversed(tasks)), 4, seed=1) == everything[:4]
    assert sample_tasks(tasks, seed=2) != everything
    for episodes in (0, 11):
        with pytest.raises(ConfigurationError, match=rf"between 1 and 10, .*got {episodes}"):
            sample_tasks(tasks, episodes)


@pytest.mark.parametrize(
    ("right", "episodes", "interval"),
    # From the closed form, e.g. Brown, Cai and DasGupta (2001); 0 of 10 is the textbook (0, 0.2775).
    [(0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0)), (50, 100, (0.4038, 0.5962)), (1, 1, (0.2065, 1.0))],
)
def test_the_interval_is_wilsons(right, episodes, interval):
    assert wilson_interval(right, episodes) == pytest.approx(interval, abs=1e-4)


def test_one_episode_is_scored_from_its_trajectory(make_envs):
    envs = make_envs(1)
    summary = run(envs, None, look("the flag"), say("1 flag"))
    assert summary.overall.f1 == pytest.approx(2 * (2 / 3) / 10, abs=1e-6)
    trajectory = envs.episodes[0].trajectory()
    assert not is_fault(trajectory)
    one = score(trajectory, envs.stage.rules.dialect)
    assert (one.searches["crop"], one.follows_format, one.em) == (1, True, False)
