"""Episodes that search the web live: recorded as they go, replayed without network, bounded in time."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from mmsearch_agents.registry import make_learner
from mmsearch_agents.sources import play
from mmsearch_env.errors import BackendError, ConfigurationError, StepFault, WebFault
from mmsearch_env.records import Query
from mmsearch_env.search.live.provider import Found
from mmsearch_env.worlds import Backends, load_world
from tests.acting import ask, ids_of, look, run, say

pytest.importorskip("requests_cache")

from mmsearch_env.recording.asking import ask_questions
from mmsearch_env.recording.packing import pack
from mmsearch_env.recording.questions import read_questions
from tests.loopback_providers import photo_catalogue, serve
from tests.recording_world import LIMITS, mediawiki, opened

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "worlds" / "photos"


@pytest.fixture
def make_live(tiny_world):
    """A function that makes an environment over the tiny world, which asks a server or replays a recording."""
    made: list[Any] = []

    def make(server=None, num_envs=None, **options):
        options = {"world": tiny_world, "split": None, "provider": "mediawiki", **options}
        if server is not None:
            options["provider_options"] = {"base_url": server.url("/w/api.php"), "limits": LIMITS}
        env: Any = None
        if num_envs is None:
            env = gym.make("mmsearch_env:MMSearch-v0", **options)
        else:
            env = gym.make_vec("mmsearch_env:MMSearch-v0", num_envs=num_envs, **options)
        made.append(env)
        return env

    yield make
    for env in made:
        env.close()
        env.unwrapped.stage.close()


def played(env, *moves, task_id="tiny-00"):
    """Play one episode of a single environment and return its trajectory."""
    env.reset(options={"task_id": task_id})
    return run(env, ids_of(env.unwrapped.stage, *moves))[-1][-1]["trajectory"]


def test_an_episode_is_answered_from_the_web_and_replayed_without_it(make_live, tmp_path):
    with mediawiki() as server:
        live = played(make_live(server, recording=tmp_path / "rec"), ask("capital of Redland"), say("Rougeville"))
    replayed = played(make_live(recording=tmp_path / "rec", mode="none"), ask("capital of Redland"), say("Rougeville"))
    assert live.turns[0].hits
    assert all(name.startswith("web-") for name in live.turns[0].hits)
    assert np.array_equal(live.token_ids, replayed.token_ids)
    assert live.turns == replayed.turns


def test_what_the_page_says_is_shown_to_the_policy(make_live, tmp_path):
    with mediawiki() as server:
        env = make_live(server, recording=tmp_path / "rec")
        trajectory = played(env, ask("capital of Redland"), say("x"))
    shown = env.unwrapped.stage.codec.decode(trajectory.token_ids.tolist())
    assert "The capital of Redland is Rougeville." in shown


def test_the_kind_of_search_that_the_provider_does_not_take_goes_to_the_world(make_live, tmp_path):
    with mediawiki() as server:
        env = make_live(server, recording=tmp_path / "rec")
        trajectory = played(env, look("the left flag"), say("x"))
    assert trajectory.turns[0].hits[0] == "doc-redland"


def test_trajectories_say_where_their_results_come_from(make_live, tmp_path):
    with mediawiki() as server:
        live = played(make_live(server, recording=tmp_path / "rec"), ask("Redland"), say("x"))
    replayed = played(make_live(recording=tmp_path / "rec", mode="none"), ask("Redland"), say("x"))
    assert (live.settings["provider"], live.settings["mode"]) == ("mediawiki", "new_episodes")
    assert (replayed.settings["provider"], replayed.settings["mode"]) == ("mediawiki", "none")


def test_a_search_that_nobody_recorded_is_a_fault_in_mode_none(make_live, tmp_path):
    with mediawiki() as server:
        played(make_live(server, recording=tmp_path / "rec"), ask("Redland"), say("x"))
    env = make_live(recording=tmp_path / "rec", mode="none")
    with pytest.raises(WebFault) as caught:
        played(env, ask("something else"), say("x"))
    assert caught.value.kind == "not_recorded"


def test_a_second_episode_costs_no_call(make_live, tmp_path):
    with mediawiki() as server:
        env = make_live(server, recording=tmp_path / "rec")
        played(env, ask("Redland"), say("x"))
        calls = len(server.asked())
        played(env, ask("Redland"), say("x"))
        assert len(server.asked()) == calls


def test_rows_of_a_vector_environment_share_the_recording(make_live, tmp_path):
    with mediawiki() as server:
        envs = make_live(server, num_envs=8, recording=tmp_path / "rec", autoreset_mode=AutoresetMode.DISABLED)
        envs.reset(options={"task_id": "tiny-00"})
        for token in ids_of(envs.stage, ask("capital of Redland")):
            *_, infos = envs.step(np.full(8, token))
        assert len({tuple(hits) for hits in infos["turn"]["hits"]}) == 1
        assert len(server.asked("/w/api.php")) == 2  # one search, one question about the credits of its pictures
    assert len(envs.stage.live.recording.searches()) == 1


def test_an_environment_with_a_recording_can_be_pickled(make_live, tmp_path):
    with mediawiki() as server:
        env = make_live(server, recording=tmp_path / "rec")
        first = played(env, ask("Redland"), say("x"))
        again = pickle.loads(pickle.dumps(env.unwrapped.stage))
        assert again.live.text.search(Query(text="Redland"))[0].document_id == first.turns[0].hits[0]
        again.close()


def test_options_of_several_providers_are_given_by_name(make_env):
    with pytest.raises(ConfigurationError, match="by the name of each provider"):
        make_env(provider=["mediawiki", "serper"], provider_options={"base_url": "https://wiki.example"})
    options = {"mediawiki": {"base_url": "https://wiki.example/w/api.php"}}
    env = make_env(provider=["mediawiki", "serper"], provider_options=options, split=None)
    assert env.unwrapped.stage.rules.settings["provider"] == "mediawiki+serper"


def test_the_options_of_one_provider_are_not_those_of_its_reader(make_env):
    env = make_env(provider="searxng", reader="trafilatura", provider_options={"base_url": "https://searx.example"})
    assert env.unwrapped.stage.rules.settings["reader"] == "trafilatura"


class Hanging:
    """A provider that never answers a query with "hang" in it, until it is released."""

    name = "hanging"
    kinds = frozenset({"text"})

    def __init__(self):
        self.released = threading.Event()

    def find(self, query, k):
        if "hang" in query.text:
            self.released.wait(60)
        return [Found(url="https://example.org/a", title="A", text=f"About {query.text}.")]


@pytest.fixture
def hanging():
    provider = Hanging()
    yield provider
    provider.released.set()


def stepped(envs, queries):
    """Let each row ask its query; return the last step's result."""
    envs.reset(options={"task_id": "tiny-00"})
    rows = [ids_of(envs.stage, ask(query)) for query in queries]
    size = max(map(len, rows))
    for actions in np.array([[17] * (size - len(ids)) + ids for ids in rows]).T:
        result = envs.step(actions)
    return result


def test_a_tool_that_hangs_is_a_fault_of_its_row_and_the_others_go_on(make_live, hanging):
    envs = make_live(
        num_envs=3, provider=hanging, tool_timeout=0.3, on_fault="truncate", autoreset_mode=AutoresetMode.DISABLED
    )
    begun = time.perf_counter()
    _, _, terminations, truncations, infos = stepped(envs, ["cats", "hang", "dogs"])
    assert time.perf_counter() - begun < 5
    assert truncations.tolist() == [False, True, False]
    assert not terminations.any()
    assert "within 0.3 seconds" in infos["trajectory"][1].cause
    assert [bool(hits) for hits in infos["turn"]["hits"]] == [True, False, True]
    begun = time.perf_counter()
    envs.close()
    assert time.perf_counter() - begun < 1


def test_a_tool_that_hangs_is_raised_as_a_timeout_of_its_row(make_live, hanging):
    envs = make_live(num_envs=2, provider=hanging, tool_timeout=0.3, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(StepFault) as caught:
        stepped(envs, ["hang", "cats"])
    assert {row: getattr(fault, "kind", None) for row, fault in caught.value.faults.items()} == {0: "timeout"}


def test_a_tool_that_hangs_in_a_single_environment_is_raised_as_well(make_live, hanging):
    env = make_live(provider=hanging, tool_timeout=0.2)
    with pytest.raises(WebFault, match="Raise tool_timeout"):
        played(env, ask("hang"), say("x"))


def test_a_timeout_holds_for_backends_of_any_kind(make_env, hanging):
    from mmsearch_env.recording.live import LiveBackend

    backend = LiveBackend(hanging)
    env = make_env(backends=Backends(backend, backend), split=None, tool_timeout=0.2)
    with pytest.raises(WebFault, match=r"within 0\.2 seconds"):
        played(env, ask("hang"), say("x"))


@pytest.mark.usefixtures("ctrl_c")
def test_what_a_tool_finds_after_ctrl_c_gets_into_no_later_episode(make_live, hanging):
    envs = make_live(num_envs=2, provider=hanging, autoreset_mode=AutoresetMode.DISABLED)
    threading.Timer(0.5, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        stepped(envs, ["hang", "hang on"])
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(np.full(2, 17))
    observation, _ = envs.reset(options={"task_id": "tiny-01"})
    hanging.released.set()
    time.sleep(0.3)
    later, *_ = envs.step(np.full(2, 17))
    length = observation["length"][0, 0]
    assert later["length"].tolist() == [[length + 1]] * 2
    assert np.array_equal(later["tokens"][:, :length], observation["tokens"][:, :length])
    assert not later["tokens"][:, length + 1 :].any() or len(np.unique(later["tokens"][:, length + 1 :])) == 1


def test_live_tools_run_in_threads_unless_told_otherwise(make_live, hanging):
    assert make_live(num_envs=3, provider=hanging)._tool_threads == 3
    assert make_live(num_envs=40, provider=hanging)._tool_threads == 16
    assert make_live(num_envs=3, provider=hanging, tool_threads=0)._tool_threads == 0


def test_a_tool_that_hangs_keeps_no_process_from_ending(tiny_world_path):
    code = f"""
import threading
from mmsearch_env.errors import WebFault
from mmsearch_env.stage import Stage
from mmsearch_env.records import ToolCall
from mmsearch_env.tools import Picture

class Hanging:
    name, kinds = "hanging", frozenset({{"text"}})
    def find(self, query, k):
        threading.Event().wait()

stage = Stage({str(tiny_world_path)!r}, provider=Hanging(), tool_timeout=0.2)
task = stage.tasks[0]
picture = Picture(stage.world.image(task.image), task.image)
try:
    stage.rules.toolbox.carry_out(ToolCall("text_search", {{"query": "x"}}), picture, task.question)
except WebFault as fault:
    print(fault.kind)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("timeout", 0), done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recording": "rec"}, "provider= with recording="),
        ({"reader": "jina"}, "provider= with reader="),
        ({"provider_options": {}}, "provider= with provider_options="),
        ({"mode": "none"}, "provider= with mode='none'"),
        ({"provider": "mediawiki", "mode": "new"}, "mode to be one of"),
        ({"provider": "mediawiki", "mode": "none"}, "recording= with mode='none'"),
        ({"provider": "mediawiki", "recording": "nowhere", "mode": "none"}, "Record first"),
        ({"provider": "mediawik", "recording": "rec"}, "Did you mean 'mediawiki'"),
        ({"provider": 7}, "find"),
        ({"provider": []}, "got none"),
        ({"provider": "mediawiki", "reader": "jin"}, "jina"),
        ({"provider": "mediawiki", "provider_options": {"bas_url": "x"}}, "base_url|option"),
        ({"provider": "mediawiki", "provider_options": {"base_url": "not a url"}}, "http"),
        ({"provider": "mediawiki", "recording": "rec", "prompts": "none.txt"}, "prompts"),
        ({"tool_timeout": 0}, "tool_timeout to be seconds"),
        ({"tool_timeout": float("inf")}, "tool_timeout to be seconds"),
    ],
)
def test_options_that_do_not_go_together_are_refused(make_env, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=message):
        make_env(**options)
    assert list(tmp_path.iterdir()) == []


def test_a_provider_and_backends_do_not_go_together(make_env, tiny_world):
    backends = Backends(tiny_world.text, tiny_world.images)
    with pytest.raises(ConfigurationError, match="one of provider= and backends="):
        make_env(provider="mediawiki", backends=backends)


@pytest.mark.parametrize(
    "url", ["https://me:secret@wiki.example/api.php", "https://wiki.example/api.php?api_key=secret"]
)
def test_a_secret_in_an_address_does_not_get_into_the_recording(make_env, tmp_path, url):
    with pytest.raises(ConfigurationError, match=r"without secrets|http") as caught:
        make_env(provider="mediawiki", recording=tmp_path / "rec", provider_options={"base_url": url})
    assert "secret@" not in str(caught.value)
    assert b"secret" not in b"".join(path.read_bytes() for path in (tmp_path / "rec").rglob("*") if path.is_file())


def test_a_missing_key_is_said_when_it_is_needed_and_not_before(make_live, tmp_path, monkeypatch):
    monkeypatch.delenv("SERPER_API_KEY", raising=False)
    env = make_live(provider="serper", recording=tmp_path / "rec")
    with pytest.raises(BackendError, match="SERPER_API_KEY"):
        played(env, ask("cats"), say("x"))


def photo_rows(name):
    """Read rows of the photographs' data."""
    return [json.loads(line) for line in (PHOTOS / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def photo_world(tmp_path_factory):
    """A world recorded from a MediaWiki that serves photographs and articles, every tenth of those without one."""
    folder = tmp_path_factory.mktemp("photos")
    scenes = {row["image"]: row for row in photo_rows("scenes.jsonl")}
    rows = [row for row in photo_rows("questions.jsonl") if row["image"] in scenes and row["target_expression"]][:6]
    for row in rows:
        boxes = scenes[row["image"]]["boxes"]
        row |= {"image": str(PHOTOS / row["image"]), "boxes": boxes, "queries": [box["title"] for box in boxes]}
    questions = folder / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    web = photo_catalogue(PHOTOS)
    web.pages = [page for number, page in enumerate(web.pages) if page.picture is not None or number % 10 == 0]
    with serve("mediawiki", web) as server, opened(server, folder / "rec") as live:
        ask_questions(live, read_questions(questions))
    return pack(folder / "rec", folder / "world", max_side=128).path


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs ../shared/worlds/photos")
def test_scripted_agents_play_a_world_recorded_from_a_wiki_of_photographs(photo_world):
    correct = {}
    for agent in ("direct", "refiner"):
        envs: Any = gym.make_vec(
            "mmsearch_env:MMSearch-v0",
            num_envs=4,
            world=str(photo_world),
            split="test",
            autoreset_mode=AutoresetMode.DISABLED,
        )
        task_ids = [task.id for task in envs.stage.tasks]
        trajectories = dict(play(make_learner(agent, envs), envs, task_ids, deterministic=True))
        envs.close()
        assert len(trajectories) == len(task_ids) == 6
        correct[agent] = sum(one.reward_terms.get("correct", 0) > 0 for one in trajectories.values())
    assert correct["refiner"] > correct["direct"]


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs ../shared/worlds/photos")
def test_crops_find_their_photograph_in_a_world_recorded_from_a_wiki(photo_world):
    world = load_world(photo_world)
    boxes = {row["image"]: row["boxes"] for row in photo_rows("scenes.jsonl")}
    rows = {row["id"]: row for row in photo_rows("questions.jsonl")}
    found = 0
    for task in world.tasks("test"):
        row = rows[task.id]
        title = next(box["title"] for box in boxes[row["image"]] if task.expression in box["expressions"])
        region = task.boxes[str(task.expression)].crop(world.image(task.image))
        found += title in [hit.title for hit in world.images.search(Query(image=region))]
    assert found >= 4
