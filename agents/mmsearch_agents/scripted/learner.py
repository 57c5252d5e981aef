"""Anything that thinks in turns, as a learner that acts in tokens."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from mmsearch_agents.learner import Decision, Observations
from mmsearch_agents.scripted.dialogue import Dialogue, read_dialogue
from mmsearch_env.codec import Codec, load_codec
from mmsearch_env.dialects import get_dialect
from mmsearch_env.dialects.dialect import Dialect
from mmsearch_env.dialects.tags import GIVE_UP
from mmsearch_env.errors import ActionError, ConfigurationError
from mmsearch_env.records import Answer, Move
from mmsearch_env.trajectory import Trajectory


class Strategy(Protocol):
    """Decides a whole turn from the dialogue so far; it keeps nothing between turns."""

    def decide(self, dialogue: Dialogue) -> tuple[str, Move]:
        """Return the reason to write down, and the move."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what rebuilds the strategy."""
        ...


@dataclass(slots=True)
class _Queue:
    """The rest of a row's turn, and what the context must look like for it to go on."""

    ids: deque[int] = field(default_factory=deque)
    length: int = -1
    last: int = -1


class ScriptedLearner:
    """Speaks a strategy's turns token by token.

    It learns nothing. Each row's turn is decided from that row's observation alone, so rows may come and go.
    """

    def __init__(
        self,
        strategy: Strategy,
        codec: Codec,
        dialect: Dialect,
        *,
        reword: Callable[[str, Dialogue], str] | None = None,
    ) -> None:
        """Let `strategy` speak in `dialect`, encoded by `codec`: those of the environment that it will act in.

        Args:
            strategy: decides.
            codec: of the environment.
            dialect: of the environment.
            reword: changes the text of a turn that answers a dialogue; it is not saved.
        """
        self._reword = reword
        self.strategy = strategy
        self.codec = codec
        self.dialect = dialect
        self._queues: list[_Queue] = []

    def act(self, observations: Observations, *, deterministic: bool = False) -> Decision:
        """Return the next id of each row's turn; a script is deterministic either way."""
        lengths: list[int] = observations["length"][:, 0].tolist()
        while len(self._queues) < len(lengths):
            self._queues.append(_Queue())
        tokens = observations["tokens"]
        chosen = np.empty(len(lengths), np.int64)
        for row, length in enumerate(lengths):
            queue = self._queues[row]
            if not (queue.ids and queue.length == length and tokens[row, length - 1] == queue.last):
                self._plan(queue, observations, row, length)
            token_id = queue.ids.popleft()
            queue.length, queue.last = length + 1, token_id
            chosen[row] = token_id
        return Decision(chosen)

    def _plan(self, queue: _Queue, observations: Observations, row: int, length: int) -> None:
        dialogue = read_dialogue(
            self.codec, observations["tokens"][row, :length], observations["question"][row], observations["image"][row]
        )
        queue.ids.clear()
        if dialogue is not None:
            text = self._spoken(*self.strategy.decide(dialogue))
            queue.ids.extend(self.codec.encode_move(self._reword(text, dialogue) if self._reword else text))
        queue.ids.append(self.codec.end_of_turn_id)

    def _spoken(self, reason: str, move: Move) -> str:
        try:
            return self.dialect.render(move, reason)
        except ActionError:
            # The dialect lacks the move (search_r1 has no image search), or the words do not fit its grammar.
            return self.dialect.render(Answer(GIVE_UP), "I cannot do that.")

    def learn(self, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """Learn nothing."""
        return {}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `scripted.json` to the folder `path`."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        state = {"strategy": self.strategy.to_json(), "tokenizer": self.codec.name, "dialect": self.dialect.name}
        target = folder / "scripted.json"
        partial = target.with_suffix(".partial")
        partial.write_text(json.dumps(state, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        partial.replace(target)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read back what `save` wrote.

        Raises:
            ConfigurationError: if the folder holds no saved scripted learner.
        """
        from mmsearch_agents.scripted.strategies import strategy_from_json

        source = Path(path) / "scripted.json"
        try:
            state = json.loads(source.read_text(encoding="utf-8"))
            return cls(
                strategy_from_json(state["strategy"]), load_codec(state["tokenizer"]), get_dialect(state["dialect"])
            )
        except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise ConfigurationError(f"Expected {source} to hold a saved scripted learner, got: {error!r}.") from error
