"""What a tool call does: it locates the region, asks the backend and words the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mmsearch_env.grounding.grounder import Grounder
from mmsearch_env.records import Box, Document, Hit, Pixels, Query, ToolCall, ToolResult
from mmsearch_env.search.backend import SearchBackend
from mmsearch_env.search.words import leading

Summarizer = Callable[[str, Sequence[str]], list[str]]
"""`summarizer(query, passages)` returns one text per passage, empty where nothing is worth showing."""


_DESCRIPTION = 120
"""How many characters of a page describe a picture that stands on it."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The picture of an episode: its pixels, uint8 (height, width, 3), and their digest."""

    pixels: Pixels
    digest: str

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """The two tools of an episode; stateless, so one serves every episode and thread.

    Attributes:
        text: answers text searches.
        images: answers image searches.
        grounder: turns a referring expression into boxes.
        documents: the world's pages, whose full text is summarised; a hit outside it is shown by its snippet.
        summarizer: condenses pages towards a query, or None to show snippets and addresses as they are.
        top_k: how many results a search returns.
        on_no_box: what an expression that fits nothing does: an error for the policy, or a search of the whole picture.
    """

    text: SearchBackend
    images: SearchBackend
    grounder: Grounder
    documents: Mapping[str, Document]
    summarizer: Summarizer | None
    top_k: int
    on_no_box: Literal["error", "whole"]

    def carry_out(self, call: ToolCall, picture: Picture) -> ToolResult:
        """Carry out `call` on `picture`. What the policy did wrong is in the result's `error`.

        Raises:
            BackendError: if a backend or the grounder fails.
        """
        if call.name == "text_search":
            hits = self.text.search(Query(text=call.arguments["query"]), self.top_k)
            return ToolResult(call=call, hits=tuple(hits), blocks=self._blocks(call.arguments["query"], hits))
        region, error = self._region(call.arguments, picture)
        if error is not None:
            return ToolResult(call=call, error=error)
        if region is None:
            query = Query(image=picture.pixels, digest=picture.digest)
        else:
            query = Query(image=region.crop(picture.pixels))
        hits = self.images.search(query, self.top_k)
        return ToolResult(call=call, hits=tuple(hits), blocks=self._described(hits), box=region)

    def _region(self, arguments: Mapping[str, Any], picture: Picture) -> tuple[Box | None, str | None]:
        """Return the box to search (None for the whole picture) or what is wrong with the arguments."""
        if "box" in arguments:
            try:
                box = Box.of(arguments["box"])
            except ValueError as error:
                return None, str(error)
            inside = box.clip(picture.width, picture.height)
            if inside is None:
                size = f"{picture.width} x {picture.height} pixels"
                return None, f"The box {box.as_list()} lies outside the picture, which is {size}."
            return inside, None
        if "expression" in arguments:
            expression = arguments["expression"]
            for found in self.grounder.locate(picture.pixels, expression):
                inside = found.box.clip(picture.width, picture.height)
                if inside is not None:
                    return inside, None
            if self.on_no_box == "error":
                return None, f'Nothing in the picture fits "{expression}".'
        return None, None

    def _blocks(self, query: str, hits: Sequence[Hit]) -> tuple[str, ...]:
        """Word the results of a text search: pages condensed towards the query."""
        if self.summarizer is None:
            return tuple(f"{hit.title} ({hit.url}): {hit.snippet}" for hit in hits)
        summaries = self.summarizer(query, [self._page(hit) for hit in hits])
        return tuple(
            f"{hit.title}: {summary}" if summary else hit.title for hit, summary in zip(hits, summaries, strict=True)
        )

    def _described(self, hits: Sequence[Hit]) -> tuple[str, ...]:
        """Word the results of an image search, for which there is no query: titles and how their pages begin."""
        if self.summarizer is None:
            return tuple(f"{hit.title} ({hit.url}): {hit.snippet}" for hit in hits)
        return tuple(f"{hit.title}: {leading(self._page(hit), _DESCRIPTION)}" for hit in hits)

    def _page(self, hit: Hit) -> str:
        document = self.documents.get(hit.document_id)
        return hit.snippet if document is None else document.text
