"""The page shows what training changed, noise and losses included."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from mmsearch_agents.evaluate import evaluate
from mmsearch_env.errors import ConfigurationError
from mmsearch_env.report import Training, load_run, write_report
from mmsearch_env.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, chart
from mmsearch_env.report.learning import choose_changes, compare, curves, reward_rise
from mmsearch_env.report.noise import rise, sign_test, smooth
from mmsearch_env.vector import MMSearchVectorEnv
from tests.acting import WHOLE, look, say
from tests.playing import Repeater

ROWS = [
    {"update": at, "reward": 0.2 + 0.02 * at + 0.01 * (at % 3), "kl": 0.001 * at, "seconds": 2.0}
    | {f"searches/{kind}": 0.5 for kind in ("text", "image", "crop")}
    for at in range(12)
]


@pytest.fixture(scope="module")
def runs(tiny_world, tmp_path_factory):
    """Three runs on the tiny world: what was right in the first is wrong in the second; the third never answers."""
    root = tmp_path_factory.mktemp("runs")
    scripts = {"before": [WHOLE, say("1")], "after": [look("the flag"), say("910")], "never": ["nothing"]}
    found = {}
    for agent, moves in scripts.items():
        envs = MMSearchVectorEnv(2, tiny_world, split=None, autoreset_mode=AutoresetMode.DISABLED, max_turns=4)
        ids = [task.id for task in envs.stage.tasks]
        evaluate(Repeater(envs, *moves), envs, ids, agent=agent, out=root / agent)
        found[agent] = load_run(root / agent)
    return found


def page_of(tmp_path, shown, **options):
    pytest.importorskip("jinja2", reason="the extra `report` is not installed")
    write_report(tmp_path / "page.html", shown, **options)
    html = (tmp_path / "page.html").read_text("utf-8")
    pieces: list[str] = []
    parser: Any = HTMLParser()
    parser.handle_data = pieces.append
    parser.feed(html)
    return html, " ".join(" ".join(pieces).split())


def test_a_smoothed_value_is_the_mean_around_it_with_students_interval():
    middle = smooth([1.0, 2.0, 3.0, 4.0, 5.0], window=5)[2]
    # The standard error is sqrt(2.5 / 5), the 97.5 % point of t at 4 degrees of freedom 2.776.
    assert (middle.mean, middle.low, middle.high) == pytest.approx((3.0, 3 - 1.9629, 3 + 1.9629), abs=1e-3)
    ends = smooth([1.0, 2.0, 3.0, 4.0, 5.0], window=3)
    assert [one.mean for one in ends] == [1.5, 2.0, 3.0, 4.0, 4.5]
    alone = smooth([0.7])[0]
    assert (alone.mean, alone.low, alone.high) == (0.7, 0.7, 0.7)


def test_the_band_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    bands = [smooth(rng.normal(0.4, 0.05, 9).tolist())[4] for _ in range(2000)]
    assert np.mean([one.low <= 0.4 <= one.high for one in bands]) == pytest.approx(0.95, abs=0.015)


def test_a_rise_is_told_from_noise():
    rng = np.random.default_rng(1)
    noise = [rise(rng.normal(0.4, 0.05, 30).tolist()) for _ in range(1000)]
    assert np.mean([one is not None and one.beyond_noise for one in noise]) == pytest.approx(0.025, abs=0.015)
    trend = rise((np.linspace(0.3, 0.5, 30) + rng.normal(0, 0.03, 30)).tolist())
    assert trend is not None
    assert trend.beyond_noise
    assert trend.difference.mean == pytest.approx(trend.last - trend.first)
    assert "a rise beyond the noise" in str(trend)
    assert rise([0.1] * 5) is None
    still = rise([0.1] * 6)
    assert still is not None
    assert (still.difference.low, still.difference.high) == (0.0, 0.0)


@pytest.mark.parametrize(("count", "student"), [(10, 2.3060), (32, 2.0423), (33, 2.0395), (40, 2.0244), (1000, 1.9623)])
def test_the_line_and_its_interval_are_those_of_least_squares(count, student):
    values = np.random.default_rng(count).normal(0.5, 0.1, count).tolist()
    (slope, first), covariance = np.polyfit(range(count), values, 1, cov=True)
    found, span = rise(values), count - 1
    assert found is not None
    assert (found.first, found.last) == pytest.approx((first, first + span * slope))
    spread = student * span * float(np.sqrt(covariance[0, 0]))
    assert found.difference.high - found.difference.mean == pytest.approx(spread, rel=3e-4)
    assert found.difference.mean - found.difference.low == pytest.approx(spread, rel=3e-4)


@pytest.mark.parametrize(("gained", "lost", "chance"), [(0, 0, 1.0), (5, 0, 0.0625), (3, 3, 1.0), (9, 1, 0.0215)])
def test_the_sign_test_is_exact(gained, lost, chance):
    assert sign_test(gained, lost) == sign_test(lost, gained) == pytest.approx(chance, abs=1e-4)


def test_a_chart_lies_within_its_picture_and_its_marks_are_round_numbers():
    values = [0.31, 0.37, 0.29, 0.44, 0.52, 0.61]
    drawn = chart("Reward", {"": values}, from_zero=False, dots=True)
    assert [tick.label for tick in drawn.vertical] == ["0.2", "0.3", "0.4", "0.5", "0.6", "0.7"]
    assert [tick.label for tick in drawn.horizontal] == ["1", "3", "5"]
    (series,) = drawn.series
    points = [tuple(map(float, point.split())) for point in re.split("[ML]", series.band.rstrip("Z"))[1:]]
    points += series.dots
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in points)
    heights = [y for _, y in series.dots]
    assert np.argsort(heights).tolist() == np.argsort([-value for value in values]).tolist()


@pytest.mark.parametrize("from_zero", [True, False])
@pytest.mark.parametrize("values", [[0.0], [0.5], [0.55, 0.55, 0.55], [0.1 + 1e-12, 0.1]])
def test_a_chart_of_equal_figures_can_be_drawn(values, from_zero):
    drawn = chart("Reward", {"": values}, from_zero=from_zero, dots=True)
    assert 2 <= len(drawn.vertical) <= 7
    assert len({tick.label for tick in drawn.vertical}) == len(drawn.vertical)
    assert all(TOP <= y <= HEIGHT - BOTTOM for _, y in drawn.series[0].dots)


def test_curves_are_drawn_of_what_the_log_holds():
    assert [one.title for one in curves(ROWS)] == ["Reward of sampled episodes", "Divergence", "Searches per episode"]
    bare = [{"update": row["update"], "reward": row["reward"]} for row in ROWS]
    assert [one.title for one in curves(bare)] == ["Reward of sampled episodes"]
    with pytest.raises(ConfigurationError, match="at least one update"):
        curves([])


def test_tasks_are_compared_one_by_one(runs):
    changes = compare(runs["before"], runs["after"])
    counts = [len(part) for part in (changes.gained, changes.lost, changes.right, changes.wrong)]
    assert sum(counts) == 10
    assert counts[0] >= 1
    assert counts[1] == 2
    back = compare(runs["after"], runs["before"])
    assert [len(back.gained), len(back.lost)] == [counts[1], counts[0]]
    assert all(before.task.id == after.task.id for before, after in changes.gained)
    assert compare(runs["never"], runs["never"]).chance == 1.0


def test_gains_and_losses_are_both_shown(runs):
    changes = compare(runs["before"], runs["after"])
    chosen = choose_changes(changes, 2)
    assert chosen == choose_changes(changes, 2)
    assert [pair in changes.gained for pair in chosen].count(True) == 1
    assert len(choose_changes(changes, 99)) == len(changes.gained) + len(changes.lost)
    assert choose_changes(compare(runs["never"], runs["never"])) == []


def test_evaluations_of_other_tasks_cannot_be_compared(runs):
    fewer = replace(runs["after"], trajectories=runs["after"].trajectories[1:])
    twice = replace(runs["after"], trajectories=runs["after"].trajectories * 2)
    for other in (fewer, twice):
        with pytest.raises(ConfigurationError, match="two evaluations of the same tasks"):
            compare(runs["before"], other)


def test_the_page_shows_curves_and_tasks_that_changed(runs, tiny_world, tmp_path):
    before, after = runs["before"], runs["after"]
    training = Training(ROWS, before, after, about="Trained <fast>.")
    html, text = page_of(tmp_path, [before, after], world=tiny_world, training=training, episodes=0)
    changes = compare(before, after)
    assert "Trained <fast>. 12 updates in 24 s." in text
    assert f"The straight line that fits their mean rewards best goes {reward_rise(ROWS)}." in text
    assert f"{len(changes.gained)} that were wrong are right now, and 2 the other way round" in text
    assert html.count('<article class="pair">') == len(changes.gained) + len(changes.lost)
    assert html.count('class="line c1"') == 3
    assert html.count('class="line c3"') == 1
    assert html.count('class="dot c1"') == 24
    assert "<script" not in html


def test_without_training_the_page_says_nothing_of_it(runs, tiny_world, tmp_path):
    html, text = page_of(tmp_path, [runs["before"]], world=tiny_world)
    assert "Before and after" not in text
    assert '<div class="charts">' not in html


def test_options_that_are_not_the_same_for_all_agents_are_named(runs, tiny_world, tmp_path):
    before = runs["before"]
    settings = {**before.summary["settings"], "top_k": 2, "prompts": "short"}
    short = replace(runs["after"], summary={**runs["after"].summary, "settings": settings})
    _, text = page_of(tmp_path, [before, runs["never"], short], world=tiny_world, episodes=0)
    assert "before, never : prompts full, top_k 5" in text
    assert "after : prompts short, top_k 2" in text
    _, text = page_of(tmp_path, [before, runs["never"]], world=tiny_world, episodes=0)
    assert "top_k" not in text


def test_a_training_on_another_world_is_refused(runs, tmp_path):
    other = replace(runs["after"], summary={**runs["after"].summary, "world_hash": "0" * 64})
    with pytest.raises(ConfigurationError, match="different values of world_hash"):
        write_report(tmp_path / "page.html", [runs["before"]], training=Training(ROWS, runs["before"], other))
