"""Times a replayed search, against a hit in the in-memory cache of requests-cache on the same results.

python -m benchmarks.replay [--world atlas] [--quick] [--out benchmarks/results]
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import requests
import requests_cache
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from benchmarks.timing import Report, as_row, main, time_calls
from benchmarks.turns import recorded_crops, recorded_texts
from mmsearch_env import Query, World
from mmsearch_env.records import pixel_digest
from mmsearch_env.search.keys import query_key

K = 5
BUDGET = 20


class Canned(BaseAdapter):
    """Answers every request with the same JSON, without a network."""

    def __init__(self, body: bytes) -> None:
        """Take the answer."""
        super().__init__()
        self._body = body

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Return the answer."""
        response = requests.Response()
        response.status_code = 200
        response.headers["Content-Type"] = "application/json"
        response.request = request
        response.url = request.url or ""
        response.raw = HTTPResponse(io.BytesIO(self._body), status=200, request_url=request.url, preload_content=False)
        return response

    def close(self) -> None:
        """Nothing is open."""


def cached_request(hits: list[dict[str, Any]]) -> Callable[[], Any]:
    """Return a function that asks a cached session for `hits` as JSON; each call of it is a hit of the cache."""
    session = requests_cache.CachedSession(backend="memory")
    session.mount("https://", Canned(json.dumps({"hits": hits}).encode()))
    params = {"q": "capital of Norway", "k": K}

    def ask() -> Any:
        return session.get("https://search.example/", params=params)

    ask()
    if not ask().from_cache:
        raise RuntimeError("Expected the second request to come from the cache, got a fresh answer.")
    return lambda: ask().json()


def run(world: World, *, quick: bool = False) -> Report:
    """Time look-ups of recorded searches."""
    repeats, loops = (3, 20) if quick else (40, 500)
    backends = world.backends("error")
    call = recorded_texts(world, K)[0]
    text = Query(text=call.arguments["query"])
    task_id, crop_call = next(iter(recorded_crops(world, world.splits[0], K)))
    task = world.task(task_id)
    region = task.boxes[crop_call.arguments["expression"]].crop(world.image(task.image))
    known = Query(image=region, digest=pixel_digest(region))
    cached = cached_request([asdict(hit) for hit in backends.text.search(text, K)])

    def timed(function: Callable[[], object], loops: int = loops) -> list[float]:
        return time_calls(function, repeats=repeats, loops=loops)

    reference = "requests-cache, in memory"
    rows = [
        as_row(reference, timed(cached, max(loops // 10, 5))),
        as_row("text", timed(lambda: backends.text.search(text, K)), reference=reference, budget=BUDGET),
        as_row(
            "picture, digest known", timed(lambda: backends.images.search(known, K)), reference=reference, budget=BUDGET
        ),
        as_row(
            "region, pixels hashed", timed(lambda: backends.images.search(Query(image=region), K)), reference=reference
        ),
        as_row("of which: hash of the pixels", timed(lambda: pixel_digest(region))),
        as_row("of which: key of the text", timed(lambda: query_key(text, K, "provider"))),
    ]
    notes = (
        f"World {world.name}, {K} results. The region has {region.shape[1]} x {region.shape[0]} pixels; the time to "
        "hash it grows with its area, and the budget is about the look-up alone.",
        "requests-cache answers with the same five results as JSON, read with `.json()`; no socket is involved.",
    )
    return Report("replay", "A replayed search", rows, notes)


if __name__ == "__main__":
    main(run, __doc__ or "")
