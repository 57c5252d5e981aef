"""`VLLMPolicy`: a policy whose model a vLLM server runs, turn by turn."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mmsearch_agents.learner import Decision, Observations
from mmsearch_agents.vllm.server import Generated, VLLMServer
from mmsearch_env.codec import Codec, load_codec
from mmsearch_env.deadline import side_by_side
from mmsearch_env.errors import ConfigurationError
from mmsearch_env.records import Pixels
from mmsearch_env.trajectory import Trajectory
from mmsearch_env.web import WebLimits

FILE = "vllm.json"
FORMAT_VERSION = 1


@dataclass(slots=True)
class _Turn:
    """What is left of a row's turn, and what the row must show for it to go on."""

    rest: deque[tuple[int, float]] = field(default_factory=deque)
    stream: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    picture: Pixels = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))


class VLLMPolicy:
    """Lets a vLLM server write whole turns, and hands them out id by id.

    Sent are the ids of a row's stream, as they were sampled and appended, and its letterboxed picture; what comes back
    are ids, with the log-probability of each under the distribution that it was drawn from: over the ids that a policy
    may emit, at the sampling temperature. See `mmsearch_agents.vllm.server` for the wire format. The server has to be
    started as `vllm serve MODEL --enable-scale-out --logprobs-mode processed_logprobs`; without the flag vLLM gives
    log-probabilities before temperature and bias, and is refused.

    Two things differ from `QwenPolicy`: with `deterministic=True` log-probabilities are those of temperature 1, and
    with `top_p` or `top_k` those of what was left after the cut.

    It learns nothing itself: `load_adapter` and `sends_adapters` pass on what a learner trained.

    Attributes:
        server: who is asked.
        codec: of the environment's tokenizer.
    """

    def __init__(
        self,
        base_url: str,
        codec: Codec,
        *,
        model: str | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int = 0,
        in_flight: int = 64,
        vocab_size: int | None = None,
        key_variable: str | None = None,
        limits: WebLimits | None = None,
    ) -> None:
        """Act through the server at `base_url`; nothing is sent before the first turn.

        Args:
            base_url: the server's address without `/v1`, e.g. `http://127.0.0.1:8000`.
            codec: of the environment's tokenizer, e.g. `envs.stage.codec`.
            model: the model's name there; None takes the first that it serves.
            temperature: divides the logits; vLLM takes 0.01 to 2.
            top_p: sample from the likeliest ids whose probabilities first sum to this; 1 is all.
            top_k: sample from so many of the likeliest ids; 0 is all.
            seed: each request's own seed follows from it. The same seeds give the same ids as far as the server's
                arithmetic does not depend on what else it computes (`VLLM_BATCH_INVARIANT=1`).
            in_flight: requests at a time, at most.
            vocab_size: of the model, as for `VLLMServer`.
            key_variable: the environment variable that holds the server's key; None for a server without one.
            limits: of requests, as for `VLLMServer`.

        Raises:
            ConfigurationError: if an option is out of range.
            MissingExtraError: if `requests` (the extra `record`) is not installed.
        """
        if not 0.01 <= temperature <= 2 or not 0 < top_p <= 1 or top_k < 0 or in_flight < 1:
            raise ConfigurationError(
                "Expected temperature in [0.01, 2], top_p in (0, 1], top_k >= 0 and in_flight >= 1, got "
                f"{temperature}, {top_p}, {top_k} and {in_flight}. For the likeliest id, act with deterministic=True."
            )
        self.server = VLLMServer(
            base_url, codec, model=model, vocab_size=vocab_size, key_variable=key_variable, limits=limits
        )
        self.codec = codec
        self.temperature, self.top_p, self.top_k = temperature, top_p, top_k
        self.seed = seed
        self.in_flight = in_flight
        self._options = {"vocab_size": vocab_size, "key_variable": key_variable}
        self._rng = np.random.default_rng(seed)
        self._turns: list[_Turn] = []

    def act(self, observations: Observations, *, deterministic: bool = False) -> Decision:
        """Hand out the next id of every row, after asking for the turns that are to begin, all at the same time.

        A row whose stream is not what it was given, as after a reset, forgets the rest of its turn. One that holds no
        episode, or whose stream ends with the end of a turn or is full, as after an episode's end, gets that id again.

        Raises:
            ConfigurationError: if the server serves another model, tokenizer or kind of log-probabilities.
            WebFault: if it does not answer, or not with what was asked for; every row keeps its place.
        """
        tokens, pictures = observations["tokens"], observations["image"]
        lengths: list[int] = observations["length"][:, 0].tolist()
        if len(self._turns) != len(lengths):
            self._turns = [_Turn() for _ in lengths]
        token_ids = np.full(len(lengths), self.codec.end_of_turn_id)
        logprobs = np.zeros(len(lengths), np.float32)
        speaking = [row for row, length in enumerate(lengths) if self._may_speak(tokens[row], length)]
        self._ask(
            [row for row in speaking if not self._goes_on(row, tokens[row, : lengths[row]], pictures[row])],
            tokens,
            lengths,
            pictures,
            deterministic,
        )
        for row in speaking:
            turn = self._turns[row]
            token_ids[row], logprobs[row] = turn.rest.popleft()
            turn.stream = np.append(turn.stream, np.int32(token_ids[row]))
        return Decision(token_ids, logprobs)

    def _may_speak(self, stream: npt.NDArray[np.int32], length: int) -> bool:
        return 0 < length < len(stream) and int(stream[length - 1]) != self.codec.end_of_turn_id

    def _goes_on(self, row: int, stream: npt.NDArray[np.int32], picture: Pixels) -> bool:
        turn = self._turns[row]
        return bool(turn.rest) and np.array_equal(turn.stream, stream) and np.array_equal(turn.picture, picture)

    def _ask(self, rows: list[int], tokens: Any, lengths: list[int], pictures: Any, deterministic: bool) -> None:
        if not rows:
            return
        self.server.check()
        seeds = [None if deterministic else int(self._rng.integers(2**53)) for _ in rows]
        streams = [tokens[row, : lengths[row]].copy() for row in rows]
        views = [pictures[row].copy() for row in rows]
        found = side_by_side(
            [
                partial(self.turn, stream, view, room=tokens.shape[1] - len(stream), seed=seed)
                for stream, view, seed in zip(streams, views, seeds, strict=True)
            ],
            at_most=self.in_flight,
        )
        for row, stream, view, one in zip(rows, streams, views, found, strict=True):
            self._turns[row] = _Turn(deque(zip(one.token_ids, one.logprobs, strict=True)), stream, view)

    def turn(self, stream: npt.NDArray[np.integer[Any]], picture: Pixels, *, room: int, seed: int | None) -> Generated:
        """Ask for the rest of a turn; many threads may.

        Args:
            stream: the ids so far, integers (L,).
            picture: the letterboxed one, uint8 (height, width, 3).
            room: how many ids the context still takes.
            seed: of sampling; None takes the likeliest ids.

        Raises:
            ConfigurationError: as `act`.
            WebFault: as `act`.
        """
        shown = int((np.asarray(stream) == self.codec.image_id).sum())
        if seed is None:
            return self.server.generate(stream, [picture] * shown, max_tokens=room, temperature=0.0)
        return self.server.generate(
            stream,
            [picture] * shown,
            max_tokens=room,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            seed=seed,
        )

    def load_adapter(self, path: str | os.PathLike[str], *, name: str = "mmsearch") -> None:
        """Let the server act with a LoRA adapter as peft saves it; see `VLLMServer.load_adapter`.

        Raises:
            ConfigurationError: if it is not served afterwards.
            WebFault: if the server refuses.
        """
        self.server.load_adapter(name, path)
        self.forget()

    def forget(self) -> None:
        """Drop what is left of the rows' turns: the weights have changed."""
        self._turns = []

    def learn(self, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """Learn nothing."""
        return {}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `vllm.json` to the folder `path`: whom to ask and how, and the name of the key's variable, no key.

        The server has to serve the same model when the policy is loaded, so also an adapter that it was given.
        """
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            "format_version": FORMAT_VERSION,
            "base_url": self.server.base_url,
            "tokenizer": self.codec.name,
            "tokenizer_fingerprint": self.codec.fingerprint,
            "options": {
                **self._options,
                "model": self.server.model,
                "temperature": self.temperature,
                "top_p": self.top_p,
                "top_k": self.top_k,
                "seed": self.seed,
                "in_flight": self.in_flight,
            },
        }
        partial_file = folder / f".{FILE}.{os.getpid()}.partial"
        partial_file.write_text(json.dumps(state, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        partial_file.replace(folder / FILE)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, codec: Codec | None = None, limits: WebLimits | None = None) -> Self:
        """Read back what `save` wrote.

        Args:
            path: the folder.
            codec: of the environment's tokenizer; None loads the one that it was made with.
            limits: of requests, as for `VLLMServer`.

        Raises:
            ConfigurationError: if the folder holds no such policy, or the tokenizer has changed.
        """
        source = Path(path) / FILE
        try:
            state = json.loads(source.read_text(encoding="utf-8"))
            version, wanted, options = state["format_version"], state["tokenizer_fingerprint"], state["options"]
            if version != FORMAT_VERSION:
                raise ValueError(f"format version {version}, not {FORMAT_VERSION}")
            codec = load_codec(state["tokenizer"]) if codec is None else codec
            if codec.fingerprint != wanted:
                raise ValueError(f"the tokenizer {wanted[:12]}, but {codec.name!r} is {codec.fingerprint[:12]}")
            return cls(state["base_url"], codec, limits=limits, **options)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"Expected {os.fspath(source)!r} to hold a saved policy of a vLLM server, got: {error!r}."
            ) from error

    def close(self) -> None:
        """Close the connections."""
        self.server.close()
