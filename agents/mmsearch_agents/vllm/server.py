"""Asking a vLLM server: the ids of a stream and its picture in, sampled ids and their log-probabilities out.

The route is `POST /inference/v1/generate`, vLLM's "token in, token out", which its own sources describe
(`vllm/entrypoints/scale_out/token_in_token_out`; read in 0.30, 0.32 and 0.33). A request is

    {"model": "…", "token_ids": [1, 2, 3], "return_token_ids": true,
     "content_parts": [{"type": "image_url", "url": "data:image/png;base64,…"}],
     "sampling_params": {"max_tokens": 900, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "seed": 7, "logprobs": 0,
                         "stop_token_ids": [9], "ignore_eos": true, "logit_bias": {"5": -100}, "detokenize": false}}

with one placeholder per picture, which vLLM makes as long as the picture, and the answer

    {"choices": [{"token_ids": [4, 9], "finish_reason": "stop",
                  "logprobs": {"content": [{"token_id": 4, "logprob": -0.5}, {"token_id": 9, "logprob": -0.1}]}}],
     "prompt_token_ids": [1, 2, 2, 2, 3], "mm_placeholders": {"image": [{"offset": 1, "length": 3}]}}

No text is in it, so nothing is ever tokenized anew. `/v1/completions` takes ids as well, but no pictures.
"""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import numpy.typing as npt

from mmsearch_agents.vllm.replies import Generated, generated, served_models
from mmsearch_env.codec import Codec
from mmsearch_env.errors import ConfigurationError, WebFault, unknown
from mmsearch_env.pictures import encode_png
from mmsearch_env.records import Pixels
from mmsearch_env.web import Credentials, Reply, WebLimits, WebSession, credential
from mmsearch_env.web.addresses import check_form

__all__ = ["Generated", "VLLMServer"]

COMMAND = "vllm serve MODEL --enable-scale-out --logprobs-mode processed_logprobs"
LIMITS = WebLimits(read_timeout=300.0, total_timeout=900.0)
"""A server is silent until a turn is whole."""

MOST_BIASES = 1024
"""vLLM's `MAX_NUM_LOGIT_BIAS_TOKENS` (`vllm/v1/worker/gpu/sample/logit_bias.py`)."""

_NEVER = -100.0  # the least bias of OpenAI's interface; e**-100 is 0 in float32
_TEXT = 'Où est la tour (1889)? 東京, naïve   "x"\n<answer>42</answer> {"k": [0.5]}'


class VLLMServer:
    """One model at a running vLLM server; many threads may ask at once.

    Proxies that environment variables name are not used, and the key is in no message and no file. Statuses of 429 and
    5xx and broken connections are tried again as `limits` say, and a request that was not answered in time is sent
    once more: with its seed it asks for the same.

    Attributes:
        base_url: the server's address.
        model: the model's name there, of an adapter after `load_adapter`; None until the server is first asked.
    """

    def __init__(
        self,
        base_url: str,
        codec: Codec,
        *,
        model: str | None = None,
        vocab_size: int | None = None,
        key_variable: str | None = None,
        limits: WebLimits | None = None,
    ) -> None:
        """Prepare to ask; nothing is sent yet.

        Args:
            base_url: the server's address without `/v1`, e.g. `http://127.0.0.1:8000`; it may be on a private network.
            codec: of the environment's tokenizer, which must be the model's.
            model: the model's name there; None takes the first that it serves.
            vocab_size: how many ids the model has, `vocab_size` in its `config.json`, so that those without a token
                are forbidden like the reserved ones; None leaves them to the model, which knows none of them.
            key_variable: the environment variable that holds the key (`--api-key`); None for a server without one.
            limits: how long to wait and how often to try again; None for 5 minutes of silence and 15 in all.

        Raises:
            ConfigurationError: if `base_url` is no address of http(s), or more ids are forbidden than vLLM can forbid.
            MissingExtraError: if `requests` (the extra `record`) is not installed.
        """
        try:
            host = check_form(base_url)
        except WebFault as fault:
            raise ConfigurationError(f"Expected a base_url such as http://127.0.0.1:8000. {fault}") from None
        parts = urlsplit(base_url)
        if parts.query or parts.fragment or parts.path.rstrip("/").endswith("/v1"):
            raise ConfigurationError(
                f"Expected a base_url such as http://127.0.0.1:8000, without /v1 or a query, got one with the path "
                f"{parts.path!r}. A key belongs into an environment variable that key_variable names."
            )
        self.base_url = base_url
        self.model = model
        self._codec = codec
        size = codec.vocab_size if vocab_size is None else vocab_size
        forbidden = [*np.flatnonzero(codec.action_mask == 0).tolist(), *range(codec.vocab_size, size)]
        if size < codec.vocab_size or len(forbidden) > MOST_BIASES:
            raise ConfigurationError(
                f"Expected vocab_size to be at least the tokenizer's {codec.vocab_size} ids, and at most {MOST_BIASES} "
                f"ids to be forbidden, got {vocab_size} and {len(forbidden)}. Give the vocab_size of config.json."
            )
        self._forbidden = {str(token_id): _NEVER for token_id in forbidden}
        self._key_variable = key_variable
        limits = LIMITS if limits is None else limits
        self._backoff = limits.backoff
        self._session = WebSession(
            "vllm",
            limits=replace(limits, allow_hosts=limits.allow_hosts | {host}),
            credentials=None if key_variable is None else self._credentials,
        )
        self._checked = False
        self._lock = threading.Lock()

    def _credentials(self) -> Credentials:
        key = credential("the vLLM server", [self._key_variable or ""])
        return Credentials(headers={"Authorization": f"Bearer {key}"})

    def check(self) -> None:
        """Ask the server, the first time, whether it serves this model, tokenizer and kind of log-probabilities.

        Raises:
            ConfigurationError: if it does not; the message says how to start it.
            WebFault: if it does not answer.
        """
        with self._lock:
            if not self._checked:
                self._check_model()
                self._check_tokenizer()
                self._check_logprobs()
                self._checked = True

    def _check_model(self) -> None:
        names = list(self._models())
        if self.model is None:
            self.model = names[0]
        if self.model not in names:
            raise ConfigurationError(unknown(f"the model at {self.base_url}", self.model, names))

    def _models(self) -> dict[str, str | None]:
        reply = self._ask("GET", "/v1/models")
        return served_models(reply.json(), reply.url)

    def _check_tokenizer(self) -> None:
        codec = self._codec
        text = f"<|im_start|>{_TEXT}<|im_end|><|image_pad|>"
        wanted = [codec.start_of_turn_id, *codec.encode_move(_TEXT), codec.end_of_turn_id, codec.image_id]
        found = self._json("/tokenize", {"model": self.model, "prompt": text, "add_special_tokens": False})
        ids = found.get("tokens") if isinstance(found, dict) else None
        if ids != wanted:
            raise ConfigurationError(
                f"Expected {self.model!r} at {self.base_url} to have the environment's tokenizer {codec.name!r}, but "
                f"it reads a text as {str(ids)[:80]} where {str(wanted)[:80]} was expected. Make the environment with "
                "tokenizer= the served model's folder or name, or serve a model of this tokenizer."
            )

    def _check_logprobs(self) -> None:
        """Let the server choose from one id alone: its log-probability is 0 only after everything was applied."""
        only = self._codec.end_of_turn_id
        params = {"max_tokens": 1, "logprobs": 0, "allowed_token_ids": [only], "ignore_eos": True, "detokenize": False}
        params |= {"stop_token_ids": [only]}
        found = self._generate([self._codec.start_of_turn_id], (), params)
        if found.token_ids != (only,) or abs(found.logprobs[0]) > 1e-3:
            raise ConfigurationError(
                f"Expected log-probabilities of the distribution that is sampled from, which for the only id allowed "
                f"is 0, got {found.logprobs[0]:g} for id {found.token_ids[0]}. Start the server with `{COMMAND}`."
            )

    def generate(
        self,
        token_ids: npt.NDArray[np.integer[Any]] | Sequence[int],
        pictures: Sequence[Pixels] = (),
        *,
        max_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
    ) -> Generated:
        """Continue a stream up to the end of the turn.

        Args:
            token_ids: the stream, integers (L,), one placeholder per picture.
            pictures: in the order of their placeholders, uint8 (height, width, 3) each.
            max_tokens: how many ids there may be at most.
            temperature: divides the logits; 0 takes the likeliest ids, with log-probabilities at temperature 1.
            top_p: as vLLM has it; ids cut off have no probability in `Generated.logprobs`, those left sum to 1.
            top_k: likewise.
            seed: of sampling.

        Raises:
            ConfigurationError: if the server serves something else, or the pictures are not as many as placeholders.
            WebFault: if it does not answer, or not with what was asked for (kind `schema`).
        """
        self.check()
        params = {
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "seed": seed,
            "logprobs": 0,
            "stop_token_ids": [self._codec.end_of_turn_id],
            "ignore_eos": True,
            "logit_bias": self._forbidden,
            "detokenize": False,
        }
        return self._generate(np.asarray(token_ids).tolist(), pictures, params)

    def _generate(self, token_ids: list[int], pictures: Sequence[Pixels], params: dict[str, Any]) -> Generated:
        places = token_ids.count(self._codec.image_id)
        if places != len(pictures):
            raise ConfigurationError(
                f"Expected as many pictures as placeholders, got {len(pictures)} pictures and {places} placeholders."
            )
        body = {
            "model": self.model,
            "token_ids": token_ids,
            "content_parts": [{"type": "image_url", "url": data_url(pixels)} for pixels in pictures] or None,
            "sampling_params": params,
            "return_token_ids": True,
        }
        answer = self._json("/inference/v1/generate", body)
        return generated(answer, token_ids, self._codec, pictures=len(pictures), max_tokens=params["max_tokens"])

    def load_adapter(self, name: str, path: str | os.PathLike[str]) -> None:
        """Let the server read a LoRA adapter as peft saves it, in the place of one of the same name, and ask that.

        It takes a server started with `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True` and `--enable-lora --max-lora-rank RANK`,
        on this machine or one that sees the same folder.

        Args:
            name: to be `model` from now on; not that of the model below.
            path: of the adapter's folder. New weights need a new path: vLLM keeps what it has read of prompts by path.

        Raises:
            ConfigurationError: if it is not served afterwards.
            WebFault: if the server refuses.
        """
        self.check()
        folder = os.path.abspath(path)
        try:
            self._ask("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": folder, "load_inplace": True})
        except WebFault as fault:
            if fault.kind != "content_type":  # it answers 200 with a bare line of text
                raise
        found = self._models().get(name)
        if found != folder:
            raise ConfigurationError(
                f"Expected {self.base_url} to serve {folder!r} as {name!r} after it was loaded, got {found!r}."
            )
        self.model = name

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _json(self, path: str, body: dict[str, Any]) -> Any:
        try:
            return self._ask("POST", path, body).json()
        except WebFault as fault:
            if fault.kind == "status":
                raise WebFault(f"{fault} The server has to be vLLM, started as `{COMMAND}`.", "status") from None
            raise

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Reply:
        base = urlsplit(self.base_url)
        url = urlunsplit(base._replace(path=base.path.rstrip("/") + path))
        try:
            return self._session.request(method, url, json=body)
        except WebFault as fault:
            if fault.kind != "timeout":
                raise
        time.sleep(self._backoff)
        return self._session.request(method, url, json=body)


def data_url(pixels: Pixels) -> str:
    """Return a picture as a `data:` address, PNG: nothing of it is lost."""
    return f"data:image/png;base64,{base64.b64encode(encode_png(pixels)).decode('ascii')}"
