"""Writes the tasks: questions about composed scenes, their answers, and for each a plan that finds the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from mmsearch_env.records import Document, Task
from worldgen.knowledge.checks import SearchCheck
from worldgen.knowledge.facts import Entity, Facts
from worldgen.knowledge.perception import perception_tasks
from worldgen.knowledge.wording import Draft, ask_comparison, ask_one_hop, ask_refine, ask_two_hop
from worldgen.scene_records import Item, Scene
from worldgen.subjects import generator

SEED = 55_001
PER_CATEGORY: Mapping[str, float] = {"one_hop": 0.32, "two_hop": 0.22, "refine": 0.26, "comparison": 0.2}
"""The shares of the categories among the tasks that need a search."""

SEARCHES_PER_SCENE = 2
_ATTEMPTS = 6

_WORDED: Mapping[str, Callable[[Item, Facts, np.random.Generator], Draft | None]] = {
    "one_hop": ask_one_hop,
    "two_hop": ask_two_hop,
    "refine": ask_refine,
    "comparison": ask_comparison,
}


def build_tasks(
    scenes: Sequence[Scene],
    facts: Facts,
    documents: Sequence[Document],
    rng: np.random.Generator,
    *,
    per_category: Mapping[str, float] = PER_CATEGORY,
) -> list[Task]:
    """Write two questions that need a search and two that do not for every scene, as far as its entities allow.

    A question that needs a search is kept only if its plan, carried out on `documents`, finds an accepted answer.

    Args:
        scenes: what the questions are about.
        facts: what they ask for.
        documents: the web on which the plans are tried.
        rng: decides nothing about a scene's own questions, which have generators of their own; it orders the tasks.
        per_category: the shares of the categories among the tasks that need a search.
    """
    check = SearchCheck(documents)
    tasks: list[Task] = []
    counts: dict[str, Counter[str]] = {}
    for scene in scenes:
        scene_counts = counts.setdefault(scene.split, Counter())
        searching = list(_search_tasks(scene, facts, check, scene_counts, per_category))
        tasks += searching
        tasks += perception_tasks(scene, count=len(searching), rng=generator(SEED, scene.id, "perception"))
    order = rng.permutation(len(tasks)).tolist()
    return [tasks[index] for index in order]


def _search_tasks(
    scene: Scene, facts: Facts, check: SearchCheck, counts: Counter[str], shares: Mapping[str, float]
) -> Iterator[Task]:
    rng = generator(SEED, scene.id, "search")
    asked: set[tuple[str, str, str]] = set()
    written = 0
    for _ in range(_ATTEMPTS * SEARCHES_PER_SCENE):
        if written == SEARCHES_PER_SCENE:
            return
        category = _next_category(counts, shares, rng)
        item = scene.items[int(rng.integers(len(scene.items)))]
        draft = _WORDED[category](item, facts, rng)
        if draft is None or _gives_away(draft, facts.entities[item.entity]):
            continue
        about = (item.entity, category, draft.attribute)
        if about in asked:
            continue
        evidence = check.evidence(draft)
        if evidence is None:
            continue
        asked.add(about)
        counts[category] += 1
        written += 1
        yield _task(scene, item, category, draft, evidence, written)


def _next_category(counts: Counter[str], shares: Mapping[str, float], rng: np.random.Generator) -> str:
    """Choose a category at random, those that lag behind their share the more often."""
    total = sum(counts.values()) + 4
    names = sorted(shares)
    lag = np.array([max(shares[name] - counts[name] / total, 0.02) for name in names])
    return names[int(np.searchsorted(np.cumsum(lag), rng.random() * lag.sum()))]


def _gives_away(draft: Draft, entity: Entity) -> bool:
    """Say whether the question names its entity or holds an accepted answer (but for a comparison's own options)."""
    question = draft.question.casefold()
    if entity.name.casefold() in question:
        return True
    return any(answer.casefold() in question for answer in draft.answers if answer not in draft.options)


def _task(scene: Scene, item: Item, category: str, draft: Draft, evidence: Iterable[str], number: int) -> Task:
    boxes = {expression: other.box for other in scene.items for expression in other.expressions}
    return Task(
        id=f"{scene.id}/search-{number}",
        image=scene.image,
        question=draft.question,
        answers=draft.answers,
        needs_search=True,
        category=category,
        domain=item.domain,
        split=scene.split,
        expression=item.expression,
        boxes=boxes,
        entities=tuple(dict.fromkeys(other.entity for other in scene.items)),
        metadata={
            "plan": [
                {"tool": "image_search", "expression": item.expression},
                *({"tool": "text_search", "query": query} for query in draft.queries),
            ],
            "evidence": sorted(evidence),
            "hops": draft.hops,
            "attribute": draft.attribute,
            "form": f"{category}/{draft.attribute}",
            "entity": item.entity,
        },
    )
