"""The report shows what happened, and what pages and policies wrote stays text."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from PIL import Image

from mmsearch_agents.evaluate import evaluate
from mmsearch_env.codec import load_codec
from mmsearch_env.errors import ConfigurationError, MissingExtraError, TrajectoryError
from mmsearch_env.records import Document
from mmsearch_env.report import choose_episodes, load_run, plot_accuracy, plot_searches, write_report
from mmsearch_env.report.cards import make_card, token_spans
from mmsearch_env.vector import MMSearchVectorEnv
from tests.acting import WHOLE, ask, look, say
from tests.playing import Repeater

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def runs(tiny_world, tmp_path_factory):
    """Three runs on the tiny world: one that looks at regions, one at whole pictures, one that talks nonsense."""
    pytest.importorskip("jinja2", reason="needs the report extra")
    root = tmp_path_factory.mktemp("runs")
    scripts = {
        "looker": [look("the flag"), ask(f"Violand {SCRIPT}"), say("910")],
        "whole": [WHOLE, say("1")],
        "talker": [f"I say {SCRIPT} & more", say(f'"{SCRIPT}')],
    }
    found = []
    for agent, moves in scripts.items():
        envs = MMSearchVectorEnv(2, tiny_world, split=None, autoreset_mode=AutoresetMode.DISABLED)
        ids = [task.id for task in envs.stage.tasks]
        evaluate(Repeater(envs, *moves), envs, ids, agent=agent, out=root / agent)
        found.append(load_run(root / agent))
    return found


class Page(HTMLParser):
    """Collects the tags of a page with their attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def page_of(tmp_path, runs, **options):
    write_report(tmp_path / "report.html", runs, **options)
    html = (tmp_path / "report.html").read_text("utf-8")
    return html, Page(html)


def test_what_pages_and_policies_wrote_is_inert(runs, tiny_world, tmp_path):
    url = "javascript:alert(1)\" onload='alert(1)'"
    hostile = SimpleNamespace(
        hash=tiny_world.hash,
        documents={
            name: Document(id=name, title=f"{SCRIPT} {name}", url=url, text="") for name in tiny_world.documents
        },
    )
    html, page = page_of(tmp_path, runs, world=hostile, episodes=30)
    assert "script" not in {tag for tag, _ in page.tags}
    assert SCRIPT not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 30
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert not [tag for tag, attributes in page.tags if "href" in attributes]
    policy = next(attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes)
    assert "default-src 'none'" in policy


def test_the_page_needs_nothing_else(runs, tiny_world, tmp_path):
    html, page = page_of(tmp_path, runs, world=tiny_world)
    sources = [attributes["src"] for _, attributes in page.tags if "src" in attributes]
    assert len(sources) == 10
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    assert "url(" not in html
    assert "@import" not in html


def test_a_card_shows_the_episode(runs, tiny_world, tmp_path):
    run = runs[0]
    chosen = next(one for one in run.trajectories if one.task.id == "tiny-07")
    _, page = page_of(tmp_path, runs, world=tiny_world, episodes=[(run, chosen)], title="Mine")
    text = " ".join(" ".join(page.text).split())
    assert "Mine" in text
    assert chosen.task.question in text
    assert "accepted 910 answered 910" in text
    assert "Violand <script>" in text
    assert "correct 1" in text
    assert "Violand evidence" in text
    assert f"{len(chosen)} tokens, {int(chosen.loss_mask.sum())} of them" in text
    box = next(attributes for tag, attributes in page.tags if tag == "rect")
    assert [int(box[name]) for name in ("x", "y", "width", "height")] == [24, 10, 48, 34]


def test_the_table_has_a_row_per_agent_in_the_order_given(runs, tiny_world, tmp_path):
    html, _ = page_of(tmp_path, list(reversed(runs)), world=tiny_world, episodes=0)
    assert re.findall(r"<td>(looker|whole|talker)</td>", html) == ["talker", "whole", "looker"]
    assert "<article" not in html


def test_without_the_world_hits_are_shown_by_id(runs, tmp_path):
    _, page = page_of(tmp_path, runs[:1], episodes=3)
    assert "doc-violand" in page.text


def test_the_bundled_world_is_used_for_titles_only_if_it_is_the_one_played(
    runs, tiny_world_path, monkeypatch, tmp_path
):
    shutil.copytree(tiny_world_path, tmp_path / "tiny")
    monkeypatch.setattr("mmsearch_env.worlds.loading.bundled", tmp_path.joinpath)
    _, page = page_of(tmp_path, runs[:1], episodes=3)
    assert "Violand" in page.text
    older = [replace(run, summary={**run.summary, "world_hash": "0" * 64}) for run in runs[:1]]
    _, page = page_of(tmp_path, older, episodes=3)
    assert "Violand" not in page.text
    assert "doc-violand" in page.text


def test_tokens_are_coloured_by_the_loss_mask_and_lose_nothing(runs):
    codec = load_codec()
    for run in runs:
        for trajectory in run.trajectories[:3]:
            spans = token_spans(trajectory, codec)
            assert "".join("".join(span.pieces) for span in spans) == codec.decode(trajectory.token_ids)
            sampled = "".join("".join(span.pieces) for span in spans if span.sampled)
            assert sampled == codec.decode(trajectory.actions)
            assert [span.sampled for span in spans] == [index % 2 == 1 for index in range(len(spans))]


def test_a_character_of_several_tokens_is_one_piece(runs):
    codec = load_codec()
    ids = np.array(codec.encode("α → 🜚 é"), np.int32)
    assert len(ids) > 7
    odd = replace(runs[0].trajectories[0], token_ids=ids, loss_mask=np.ones(len(ids), np.int8))
    (span,) = token_spans(odd, codec)
    assert "".join(span.pieces) == "α → 🜚 é"
    assert not any("�" in piece for piece in span.pieces)


def test_the_choice_of_episodes_varies_and_is_stable(runs):
    chosen = choose_episodes(runs, 10)
    assert chosen == choose_episodes(runs, 10)
    assert len({(run.agent, trajectory.task.id) for run, trajectory in chosen}) == 10
    assert sorted(Counter(run.agent for run, _ in chosen).values()) == [3, 3, 4]
    assert {trajectory.task.category for _, trajectory in chosen} == {
        "comparison", "one_hop", "perception", "refine", "two_hop"}  # fmt: skip
    assert {trajectory.reward_terms["correct"] for _, trajectory in chosen} == {0.0, 1.0}
    assert len(choose_episodes(runs, 99)) == 30
    right = [trajectory.reward_terms["correct"] for _, trajectory in chosen]
    assert right == sorted(right, reverse=True)


def test_without_a_term_for_it_the_reward_says_what_is_right(runs):
    played = runs[2].trajectories[:2]
    bare = tuple(replace(one, reward_terms={}, reward=float(at)) for at, one in enumerate(played))
    chosen = choose_episodes([replace(runs[2], trajectories=bare)], 2)
    assert [one.reward for _, one in chosen] == [1.0, 0.0]
    assert [make_card(run, one, {}, None).right for run, one in chosen] == [True, False]


def test_runs_that_cannot_be_compared_are_refused(runs, tmp_path):
    other = replace(runs[1], summary={**runs[1].summary, "world_hash": "0" * 64})
    with pytest.raises(ConfigurationError, match="different values of world_hash"):
        write_report(tmp_path / "r.html", [runs[0], other])
    with pytest.raises(ConfigurationError, match="at least one run"):
        write_report(tmp_path / "r.html", [])


def test_another_world_than_the_one_played_is_refused(runs, tmp_path):
    other: Any = SimpleNamespace(hash="1" * 64, name="other")
    with pytest.raises(ConfigurationError, match="Expected the world that was played"):
        write_report(tmp_path / "r.html", runs, world=other)


def test_a_folder_without_a_run_says_so(runs, tmp_path):
    with pytest.raises(ConfigurationError, match=r"holds no summary\.json"):
        load_run(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(TrajectoryError, match="Expected JSON"):
        load_run(tmp_path)
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(TrajectoryError, match="none of the name 'accuracy'"):
        load_run(tmp_path)
    with pytest.raises(TrajectoryError, match="Expected the picture"):
        make_card(replace(runs[0], folder=tmp_path), runs[0].trajectories[0], {}, None)


def test_plots_are_pictures_and_the_same_each_time(runs, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the report extra")
    summaries = [run.summary for run in runs]
    for plot in (plot_accuracy, plot_searches):
        for name in ("a.png", "b.png"):
            plot(summaries, tmp_path / name)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
        with Image.open(tmp_path / "a.png") as picture:
            colours = picture.convert("RGB").getcolors(1 << 24)
        assert len(colours) > 20
        with pytest.raises(ConfigurationError, match="at least one summary"):
            plot([], tmp_path / "c.png")


@pytest.mark.parametrize(("package", "write"), [("jinja2", write_report), ("matplotlib", plot_accuracy)])
def test_a_missing_extra_is_named(runs, tmp_path, monkeypatch, package, write):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.figure", None)
    arguments = (tmp_path / "out", runs) if package == "jinja2" else ([run.summary for run in runs], tmp_path / "out")
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'mmsearch-env[report]'")):
        write(*arguments)
