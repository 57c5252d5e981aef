"""Questions about what a picture shows, asked of as many new scenes of the train entities as one likes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmsearch_env.dialects.deepmmsearch_r1 import DeepMMSearchR1
from mmsearch_env.pictures import letterbox
from mmsearch_env.records import Answer
from mmsearch_env.stage import Stage
from modelgen.dialogues import Dialogue, spaced
from modelgen.names import Template
from worldgen.knowledge.facts import load_facts
from worldgen.knowledge.perception import perception_tasks
from worldgen.scenes import SCENES, compose, plan_scenes
from worldgen.subjects import find_subjects, generator

_PER_SCENE = 8


def looked_at(stage: Stage, count: int, *, part: int = 0, kept: Path | None = None) -> list[Dialogue]:
    """Draw `count` scenes that atlas does not have and answer questions about them.

    Args:
        stage: its size of pictures is taken.
        count: how many scenes; each takes about 60 ms to draw.
        part: another part, other scenes.
        kept: a file to keep them in, or to read them from if it is there.
    """
    if kept is not None and kept.exists():
        with np.load(kept) as stored:
            return _dialogues(stored["views"], json.loads(str(stored["asked"])))
    facts = load_facts()
    first = SCENES["train"] + part * count
    plans = plan_scenes(find_subjects(facts.split), {"train": first + count})[first:]
    views, asked = [], []
    for number, plan in enumerate(plans):
        scene, pixels = compose(plan)
        views.append(letterbox(pixels, stage.image_size))
        tasks = perception_tasks(scene, count=_PER_SCENE, rng=generator(1, scene.id, "looking"))
        asked += [(number, task.question, task.answers[0]) for task in tasks]
    if kept is not None:
        fresh = kept.with_suffix(".fresh.npz")
        np.savez(fresh, views=np.stack(views), asked=json.dumps(asked))
        fresh.replace(kept)
    return _dialogues(np.stack(views), asked)


def _dialogues(views: npt.NDArray[np.uint8], asked: list[tuple[int, str, str]]) -> list[Dialogue]:
    render = DeepMMSearchR1().render
    return [
        Dialogue(
            Template(((question,), (spaced(render(Answer(answer), "The picture shows it.")),)), ()),
            views[number],
            False,
        )
        for number, question, answer in asked
    ]
