"""Dialogues under new names stay dialogues of the environment, and a base learns from them."""

from __future__ import annotations

import json
import re
import shutil
import string
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `agents` is not installed")
pytest.importorskip("transformers", reason="the extra `agents` is not installed")

import torch

from mmsearch_agents.policy import QwenPolicy, build_model, tiny_config
from mmsearch_agents.shipped import POLICIES, trained_for
from mmsearch_env.errors import ConfigurationError
from modelgen import finetuning, reinforcing
from modelgen.dialogues import ENVIRONMENT, Encoder, cut, is_founded, teacher_episodes
from modelgen.finetuning import finetune
from modelgen.habits import Habits, demonstrate
from modelgen.keeping import ship
from modelgen.looking import looked_at
from modelgen.names import Cutter, Vocabulary, invent, invent_all, known_names
from modelgen.pretraining import Settings, learning_rate, pretrain, repeats
from modelgen.reinforcing import reinforce
from modelgen.seeing import draw_seen, teach_seeing

WORDS = Vocabulary(["ab", "cde"], ["river", "stone"], ["Mars"], ["sh"], ["K", "Th"])
POOR = Habits(whole=1.0, vague=1.0, stop=1.0, needless=1.0, distracted=1.0)
GOOD = Habits(whole=0.0, vague=0.0, stop=0.0, needless=0.0, distracted=0.0)
_FORM = str.maketrans(
    dict.fromkeys(string.ascii_lowercase, "a")
    | dict.fromkeys(string.ascii_uppercase, "A")
    | dict.fromkeys("0123456789", "0")
)


@pytest.fixture(scope="module")
def taught():
    """Episodes of the teacher, the stage that they were played on, and a cutter."""
    episodes, stage = teacher_episodes("train", 60)
    return episodes, stage, Cutter(known_names())


def test_under_its_own_names_a_dialogue_is_the_episode_id_by_id(taught):
    episodes, stage, cutter = taught
    encoder = Encoder(stage)
    assert {episode.task.needs_search for episode in episodes} == {True, False}
    for episode in episodes:
        sample = encoder.sample(cut(episode, stage, cutter), np.random.default_rng(0), thin=0.0, keep=1.0)
        assert sample.token_ids.tolist() == episode.token_ids.tolist()
        assert sample.loss_mask.tolist() == (episode.loss_mask == 1).tolist()
        assert (sample.pictures[0] == stage.view(episode.task)).all()


def test_under_new_names_queries_and_answers_still_stand_in_what_was_told(taught):
    episodes, stage, cutter = taught
    encoder, rng = Encoder(stage), np.random.default_rng(1)
    renamed = 0
    for episode in episodes:
        if not episode.task.needs_search:
            continue
        sample = encoder.sample(cut(episode, stage, cutter), rng, thin=0.8, keep=0.0)
        text = stage.codec.decode(sample.token_ids)
        answer = re.findall(r"<answer> ?(.*?)</answer>", text)[-1]
        told = "".join(re.findall(r"<information>(.*?)</information>", text, re.DOTALL)) + episode.task.question
        assert answer.casefold() in told.casefold()
        renamed += answer not in episode.task.answers
    assert renamed > 20


def test_the_same_text_gets_the_same_name_and_others_get_others():
    template = Cutter(["Norway", "Oslo"]).cut(
        ["What of Norway?", "Oslo is in Norway since 1814 and 1905.", "Norway", "1905"], []
    )
    fresh = invent_all(template, WORDS, np.random.default_rng(0))
    question, told, query, year = template.fill(fresh)
    assert query in question
    assert query in told
    assert year == "1905"  # a number that begins a line counts results and is left alone
    assert len(set(fresh)) == len(fresh) == 4


@pytest.mark.parametrize("filler", ["1,905", "62.5", "1,046 km", "United States of America", "garuda", "A1"])
def test_what_is_invented_has_the_form_of_what_it_replaces(filler):
    fresh = invent(filler, WORDS, np.random.default_rng(3))
    shape = [re.sub(r"\d", "0", text) if text[0].isdigit() else text[0].isupper() for text in (filler, fresh)]
    assert shape[0] == shape[1]
    assert len(fresh.split()) == len(filler.split())
    assert not filler.endswith("km") or fresh.endswith(" km")


@pytest.mark.parametrize("filler", [".ch", "HB", "A1", "UMi"])
def test_an_abbreviation_is_replaced_letter_for_letter(filler):
    form = filler.translate(_FORM)
    made = {invent(filler, WORDS, np.random.default_rng(seed)) for seed in range(10)}
    assert {fresh.translate(_FORM) for fresh in made} == {form}
    assert len(made) > 5


def test_in_a_comparison_the_larger_number_stays_the_larger_one():
    texts = ["Is 1,905.5 more than 1,905.4, 87 or 86?"]
    template = Cutter([]).cut(texts, [], ordered=True)
    seen = set()
    for seed in range(20):
        (told,) = template.fill(invent_all(template, WORDS, np.random.default_rng(seed)))
        numbers = [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", told)]
        assert sorted(numbers, reverse=True) == numbers
        assert len(set(numbers)) == 4
        seen.add(told)
    assert len(seen) == 20


def test_every_id_that_words_go_on_with_comes_up_in_names():
    vocabulary = Vocabulary.of(["Ġthe", "Ġriver", "ĠR", "ĠOslo", "wanda", "an", "Ġ", "x", "ĠABC"])
    assert vocabulary == Vocabulary(["an", "wanda"], ["river", "the"], ["Oslo"], ["the"], ["R"])
    made = {invent("Kenya", vocabulary, np.random.default_rng(seed)) for seed in range(40)}
    assert {"Oslo", "Rwanda"} <= made


def test_an_answer_that_no_result_about_its_subject_states_is_no_lesson(taught):
    episodes, stage, _ = taught
    assert all(is_founded(episode, stage) for episode in episodes)
    searched = next(one for one in episodes if one.task.category == "one_hop")
    assert not is_founded(replace(searched, answer="Atlantis"), stage)


def test_questions_about_new_pictures_have_the_form_of_the_worlds_own(taught, tmp_path):
    episodes, stage, cutter = taught
    drawn = looked_at(stage, 3, kept=tmp_path / "scenes.npz")
    again = looked_at(stage, 3, kept=tmp_path / "scenes.npz")
    assert [one.template for one in drawn] == [one.template for one in again]
    assert all((one.picture == two.picture).all() for one, two in zip(drawn, again, strict=True))
    assert len({one.picture.tobytes() for one in drawn}) == 3
    known = {stage.view(task).tobytes() for task in stage.tasks}
    assert not known & {one.picture.tobytes() for one in drawn}
    seen = next(cut(one, stage, cutter) for one in episodes if not one.task.needs_search)
    assert drawn[0].picture.shape == seen.picture.shape
    reason = str(seen.template.texts[1][0]).split("<answer>")[0]
    assert all(str(one.template.texts[1][0]).startswith(reason) for one in drawn)


def test_what_is_to_be_seen_is_told_place_by_place(taught):
    seen = draw_seen(taught[1], 6)
    again = draw_seen(taught[1], 2, first=4)
    assert (seen.views[4:] == again.views).all()
    assert (seen.kinds[4:] == again.kinds).all()
    for kinds, shown, count in zip(seen.kinds, seen.shown, seen.counts, strict=True):
        assert {kind - 1 for kind in kinds.tolist() if kind} == set(np.flatnonzero(shown).tolist())
        assert 0 <= count <= 3
    on_flag = seen.stars != -1
    assert on_flag.any()
    assert (seen.colours[on_flag] != -1).all()
    assert (seen.colours[~on_flag] == -1).all()


def test_a_tower_learns_to_see_and_the_language_model_stays_as_it_is(taught, tmp_path):
    stage = taught[1]
    policy = QwenPolicy(build_model(tiny_config(stage.codec, vision_width=32, width=32)), stage.codec)
    before = {name: weight.clone() for name, weight in policy.model.named_parameters()}
    seen = draw_seen(stage, 10)
    flags = {"colour", "star"} if (seen.stars[0] != -1).any() else set()  # the first is held out
    found = teach_seeing(policy, seen, passes=2, batch_size=4, log=tmp_path / "seeing.jsonl")
    assert found.keys() == {"kind", "background", "count", "shown"} | flags
    assert [line["pass"] for line in read_lines(tmp_path / "seeing.jsonl")] == [1, 2]
    changed = {name for name, weight in policy.model.named_parameters() if not torch.equal(weight, before[name])}
    assert changed
    assert all("visual" in name for name in changed)


def test_pictures_without_a_flag_teach_nothing_of_flags(taught):
    stage = taught[1]
    policy = QwenPolicy(build_model(tiny_config(stage.codec, vision_width=32, width=32)), stage.codec)
    seen = draw_seen(stage, 4)
    without = replace(seen, colours=np.full_like(seen.colours, -1), stars=np.full_like(seen.stars, -1))
    found = teach_seeing(policy, without, passes=1, batch_size=2)
    assert found.keys() == {"kind", "background", "count", "shown"}
    assert all(weight.isfinite().all() for weight in policy.model.parameters())


def test_copying_is_learnt_where_an_id_follows_what_it_followed_before():
    assert repeats(np.array([5, 6, 7, 5, 6, 8, 5, 6])).tolist() == [False] * 4 + [True, False, False, True]


@pytest.mark.parametrize(("habits", "first"), [(POOR, "<img_search><img>"), (GOOD, "<img_search> the ")])
def test_the_teacher_demonstrates_its_habits_and_nothing_malformed(habits, first):
    episodes, _ = demonstrate("train", habits, seed=0, tasks=40)
    searched = [one for one in episodes if one.task.needs_search]
    assert searched
    assert all(one.reward >= 0.1 for one in episodes)
    assert all(first in one.turns[0].text for one in searched)
    looked = [one for one in episodes if not one.task.needs_search]
    assert {len(one.turns) for one in looked} == ({2} if habits.needless else {1})


def test_the_teacher_without_bad_habits_is_the_oracle():
    episodes, _ = demonstrate("train", GOOD, seed=0, tasks=60)
    right = [one.reward_terms["correct"] for one in episodes]
    assert np.mean(right) > 0.9


def test_a_seed_demonstrates_the_same_again_and_another_something_else():
    once, again, other = (demonstrate("train", Habits(), seed=seed, tasks=12)[0] for seed in (0, 0, 1))
    assert [one.token_ids.tolist() for one in once] == [one.token_ids.tolist() for one in again]
    assert [one.token_ids.tolist() for one in once] != [one.token_ids.tolist() for one in other]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with the first steps of a base, and its settings."""
    folder = tmp_path_factory.mktemp("base")
    settings = Settings(
        tokens=6_000,
        batch_tokens=1500,
        warmup=2_000,
        cooldown=2_000,
        thin_until=4_000,
        scenes=2,
        seen_scenes=8,
        seen_passes=1,
        tasks=24,
        evaluate_every=2,
    )
    pretrain(folder, settings)
    return folder, settings


def test_a_base_learns_logs_and_goes_on_from_its_checkpoint(base, tmp_path):
    folder = shutil.copytree(base[0], tmp_path / "base")
    log = read_lines(folder / "log.jsonl")
    assert log[-1]["loss"] < log[0]["loss"]
    assert {"answer", "perception", "turn_0"} <= log[-1].keys()
    assert (folder / "policy" / "policy.json").exists()
    assert [line["pass"] for line in read_lines(folder / "seeing.jsonl")] == [1]
    pretrain(folder, replace(base[1], tokens=9_000))
    more = read_lines(folder / "log.jsonl")
    assert more[: len(log)] == log
    assert more[-1]["step"] > log[-1]["step"]


def test_two_processes_share_the_work_and_keep_the_same_weights(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "modelgen"]
    options = {"tokens": 4000, "batch-tokens": 1000, "scenes": 2, "seen-scenes": 0, "tasks": 8, "evaluate-every": 1}
    sizes = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    subprocess.run([*command, "base", str(tmp_path), *sizes], check=True, timeout=240, capture_output=True)
    assert [line["step"] for line in read_lines(tmp_path / "log.jsonl")][:2] == [1, 2]
    assert read_lines(tmp_path / "log.jsonl")[-1]["tokens"] >= 4000
    assert (tmp_path / "policy" / "model.safetensors").exists()


def test_a_base_is_tuned_on_demonstrations_and_then_learns_from_its_own_episodes(base, tmp_path, monkeypatch):
    trained = {"tokenizer": "builtin", **ENVIRONMENT}
    monkeypatch.setitem(ENVIRONMENT, "max_tokens", 300)  # a policy that knows nothing speaks until it is cut off
    finetune(base[0] / "policy", tmp_path / "sft", finetuning.Settings(rounds=1, tasks=24, evaluate_on=4))
    tuned = read_lines(tmp_path / "sft" / "metrics.jsonl")
    assert "eval/format_rate" in tuned[-1]
    reinforce(
        tmp_path / "sft" / "policy",
        tmp_path / "grpo",
        reinforcing.Settings(updates=1, tasks_per_batch=1, evaluate_on=2),
    )
    assert read_lines(tmp_path / "grpo" / "metrics.jsonl")[0]["tokens"] > 0
    assert (tmp_path / "grpo" / "policy" / "model.safetensors").exists()
    shutil.copytree(base[0], tmp_path / "base")
    (tmp_path / "grpo").rename(tmp_path / "grpo-0")
    ship(tmp_path, tmp_path / "models")
    for name in POLICIES:
        room = {} if name == "tiny-base" else {"max_tokens": 300}
        assert trained_for(tmp_path / "models" / name) == {**trained, **room}
        assert read_lines(tmp_path / "models" / name / "training.jsonl")
        assert QwenPolicy.load(tmp_path / "models" / name).model.dtype == torch.float32  # half on disk alone
        assert (tmp_path / "models" / name / "model.safetensors").stat().st_size < 5_000_000


def test_a_policy_that_is_shipped_is_not_replaced_by_runs_that_are_not_finished(tmp_path):
    shipped = tmp_path / "models" / "tiny-base" / "policy.json"
    shipped.parent.mkdir(parents=True)
    shipped.write_text("{}")
    (tmp_path / "runs" / "base" / "policy").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"finished run 'base' .*no base.policy.policy\.json"):
        ship(tmp_path / "runs", tmp_path / "models")
    assert shipped.read_text() == "{}"


def test_the_learning_rate_rises_stays_and_falls_to_nothing():
    settings = Settings(tokens=1000, warmup=100, cooldown=200, learning_rate=1.0)
    assert learning_rate(settings, 0) < learning_rate(settings, 50) < learning_rate(settings, 99)
    assert learning_rate(settings, 100) == learning_rate(settings, 800) == 1
    assert learning_rate(settings, 900) == pytest.approx(0.5)
    assert learning_rate(settings, 1000) == 0


def read_lines(path):
    """Return the rows of a log."""
    return [json.loads(line) for line in path.read_text().splitlines()]
