"""Recordings that others write to, wrote, or edited: nothing of theirs is lost, and little of it is trusted."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from threading import Barrier, Event, Timer, main_thread
from typing import Any

import pytest

from mmsearch_env.errors import ConfigurationError, WorldError
from mmsearch_env.records import Query
from mmsearch_env.web.costs import Cost

pytest.importorskip("requests_cache")

from mmsearch_env.recording import opening
from mmsearch_env.recording.asking import ask_questions
from mmsearch_env.recording.folder import Recording
from mmsearch_env.recording.locks import locked, locked_folder
from mmsearch_env.recording.searches import RecordedSearch
from mmsearch_env.web import database
from mmsearch_env.web.database import RecordedResponses
from mmsearch_env.web.limits import WebLimits
from tests.recording_world import LIMITS, mediawiki, opened, questions_in

open_live: Any = opening.open_live
"""What it opens is known here: which kinds there are, and that it records."""

CATS = RecordedSearch(text="cats", image=None, k=5, provider="web", reader=None)


def test_many_may_begin_one_recording_and_set_up_their_providers(tmp_path):
    count = 8
    barrier = Barrier(count)

    def work(number):
        barrier.wait()
        with Recording(tmp_path / "rec") as recording:
            recording.keep_setup(f"p{number}", {"number": number})
            recording.allow({f"host{number}"})
            recording.add_costs([Cost(provider="p", calls=1)])

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, range(count)))
    with Recording(tmp_path / "rec", "none") as recording:
        assert [recording.setup(f"p{number}") for number in range(count)] == [{"number": n} for n in range(count)]
        assert recording.allow(()) == {f"host{number}" for number in range(count)}
        assert [cost.calls for cost in recording.costs().rows()] == [count]


def test_many_may_open_and_close_one_file_of_responses_at_a_time(tmp_path):
    count = 8
    barrier = Barrier(count)

    def work(path):
        barrier.wait()
        RecordedResponses(path, read_only=False, renew=False).close()

    with ThreadPoolExecutor(count) as pool:
        for turn in range(20):
            list(pool.map(work, [tmp_path / f"{turn}.sqlite"] * count))


def test_going_over_to_wal_waits_for_another_that_writes_but_not_for_ever(tmp_path, monkeypatch):
    path = tmp_path / "file.sqlite"
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("CREATE TABLE t (x)")
    writer.execute("BEGIN IMMEDIATE")
    with closing(writer), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with monkeypatch.context() as patch:
            patch.setattr(database, "BUSY_TIMEOUT", 0.05)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                database.write_ahead(connection)
        timer = Timer(0.2, writer.execute, ["COMMIT"])
        timer.start()
        database.write_ahead(connection)
        timer.join()
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_lock_ends_though_a_fork_has_copied_it(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        with locked(file.fileno()):
            child = os.fork()
            if child == 0:
                signal.pause()
        try:
            with (tmp_path / "file").open("rb") as other:
                fcntl.flock(other.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_died_holds_no_lock(tmp_path):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with locked_folder(tmp_path):
            os.write(write, b"locked")
            signal.pause()
    os.read(read, 6)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with locked_folder(tmp_path):
        pass
    os.close(read)
    os.close(write)


def test_of_two_processes_that_asked_in_other_words_the_first_counts(tmp_path):
    with Recording(tmp_path / "rec") as one, Recording(tmp_path / "rec") as two:
        one.add_search(CATS, Query(text="cats"))
        two.add_search(replace(CATS, text="CATS"), Query(text="CATS"))
        assert one.searches() == [CATS]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"setups": {"mediawiki": 3}}, "setups"),
        ({"setups": []}, "setups"),
        ({"allow_hosts": [{}]}, "allow_hosts"),
        ({"format_version": 9, "setups": None}, "Upgrade"),
        ({"format_version": None}, "format version 1"),
    ],
)
def test_a_head_that_is_none_is_refused_and_named(tmp_path, edit, message):
    Recording(tmp_path / "rec").close()
    path = tmp_path / "rec" / "recording.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **edit}))
    with pytest.raises(WorldError, match=message) as caught:
        Recording(tmp_path / "rec")
    assert "recording.json" in str(caught.value)


def test_a_search_that_could_not_be_noted_is_not_known(tmp_path, monkeypatch):
    with Recording(tmp_path / "rec") as recording:

        def fail(row):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(recording._searches, "append", fail)
        with pytest.raises(OSError, match="No space"):
            recording.add_search(CATS, Query(text="cats"))
        assert recording.known(CATS) is None


def test_keys_are_not_sent_where_only_the_recording_says(tmp_path):
    options = {"base_url": "https://not-serper.example", "key": "sk-0123456789"}
    with open_live("serper", recording=tmp_path / "rec", options=options) as live:
        query = Query(text="Redland")
        live.recording.add_search(live.text.asked(query, 5), query)
    with pytest.raises(ConfigurationError, match=r"base_url for 'serper'.*not-serper\.example"):
        open_live("serper", recording=tmp_path / "rec")
    open_live("serper", recording=tmp_path / "rec", mode="none").close()
    open_live("serper", recording=tmp_path / "rec", options=options).close()


def test_an_address_that_nobody_answered_at_is_not_taken_from_the_recording(tmp_path):
    open_live("serper", recording=tmp_path / "rec", options={"base_url": "https://not-serper.example"}).close()
    with open_live("serper", recording=tmp_path / "rec") as live:
        assert live.recording.setup("serper") == {}


def test_hosts_that_only_the_recording_allows_are_not_reached(tmp_path):
    with Recording(tmp_path / "rec") as recording:
        recording.allow({"127.0.0.1"})
        assert recording.allow(()) == frozenset()
    with Recording(tmp_path / "rec", "none") as recording:
        assert recording.allow(()) == {"127.0.0.1"}


def test_an_old_recording_in_mode_once_needs_no_address(tmp_path):
    with mediawiki() as server, opened(server, tmp_path / "rec") as live:
        first = live.text.search(Query(text="Redland"))
    with open_live("mediawiki", recording=tmp_path / "rec", mode="once") as replayed:
        assert replayed.text.search(Query(text="Redland")) == first


def test_faults_cannot_be_forgotten_in_a_replay(tmp_path):
    Recording(tmp_path / "rec").close()
    with (
        Recording(tmp_path / "rec", "none") as recording,
        pytest.raises(ConfigurationError, match="new_episodes"),
    ):
        recording.forget_faults()


def test_another_task_of_a_recorded_id_is_refused_before_anything_is_asked(tmp_path):
    questions = questions_in(tmp_path, 1)
    task = questions.tasks[0]
    with mediawiki() as server, opened(server, tmp_path / "rec") as live:
        live.recording.add_task(replace(task, question="Another one?"), questions.images[task.image])
        with pytest.raises(ConfigurationError, match="same id"):
            ask_questions(live, questions)
        assert server.asked() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"options": "base_url=x"}, "mapping"),
        ({"options": {"limits": 3}}, "WebLimits"),
        ({"options": {"meter": None}}, "meter"),
        ({"options": {"recording": "x"}}, "recording"),
        ({"reader": object()}, "read"),
        ({"recording": 7}, "path of a folder"),
        ({"provider": "serper", "options": {"image_host": "https://up.example", "image_key": "0123abcd" * 4}}, "HOST_"),
    ],
)
def test_options_of_other_kinds_are_refused_and_leave_no_secret(tmp_path, options, message):
    given = {"provider": "mediawiki", "recording": tmp_path / "rec", **options}
    with pytest.raises(ConfigurationError, match=message):
        open_live(**given)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"0123abcd" in content for content in files)


def test_limits_are_those_of_this_run(tmp_path):
    with open_live("mediawiki", recording=tmp_path / "rec", options={"limits": LIMITS}) as live:
        assert live.recording is not None
    head = json.loads((tmp_path / "rec" / "recording.json").read_text())
    assert head["setups"] == {"mediawiki": {}}
    open_live("mediawiki", recording=tmp_path / "rec", options={"limits": WebLimits(retries=9)}).close()


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_ctrl_c_leaves_what_is_under_way(tmp_path):
    released = Event()

    class Hanging:
        name = "hanging"
        kinds = frozenset({"text"})

        def find(self, query, k):
            released.wait(30)
            return []

    stop = partial(signal.pthread_kill, main_thread().ident or 0, signal.SIGINT)
    timers = [Timer(after, stop) for after in (0.2, 0.5)]
    begun = time.perf_counter()
    with open_live(Hanging(), recording=tmp_path / "rec") as live:
        for timer in timers:
            timer.start()
        with pytest.raises(KeyboardInterrupt):
            ask_questions(live, questions_in(tmp_path, 1))
    assert 0.4 < time.perf_counter() - begun < 5
    released.set()
