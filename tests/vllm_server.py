"""A server on this machine that speaks vLLM's interface and really runs a small model.

It is transformers' own forward pass with transformers' own cache, so that nothing of `QwenPolicy` takes part in what it
is compared with.
"""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from tokenizers import Tokenizer
from transformers import DynamicCache

from mmsearch_agents.policy import base_of, processor_for
from mmsearch_agents.policy.model import quiet_peft
from mmsearch_env.codec import load_codec
from mmsearch_env.pictures import decode_png
from tests.loopback import Answer, Loopback, json_answer
from tests.policy_models import expanded

CODEC = load_codec()
NAME = "tiny"


def error(status, message):
    """Answer as vLLM does to what it refuses."""
    kinds = {400: "BadRequestError", 403: "PermissionDeniedError", 404: "NotFoundError"}
    return json_answer(
        {"error": {"message": message, "type": kinds.get(status, "InternalServerError"), "code": status}}, status=status
    )


class TinyVLLM(Loopback):
    """`vllm serve` with a model of a few thousand weights; a context manager.

    Attributes:
        requests: bodies of `/inference/v1/generate`, without the first one, which only checks the server.
    """

    def __init__(self, model, *, codec=CODEC, processed=True, names=(NAME,)):
        """Serve `model`, with `--logprobs-mode processed_logprobs` or without."""
        self.model, self.codec, self.processed = model.eval(), codec, processed
        self.cards = dict.fromkeys(names, "a/model")
        self.adapters = {}
        self.requests = []
        self._model_lock = threading.Lock()
        super().__init__(
            {
                "/v1/models": self._models,
                "/tokenize": self._tokenize,
                "/inference/v1/generate": self._generate,
                "/v1/load_lora_adapter": self._load,
            }
        )

    def _models(self, asked):
        return json_answer({"object": "list", "data": [{"id": key, "root": root} for key, root in self.cards.items()]})

    def _tokenize(self, asked):
        tokenizer = Tokenizer.from_str(self.codec._spec)
        ids = tokenizer.encode(asked.json["prompt"], add_special_tokens=asked.json["add_special_tokens"]).ids
        return json_answer({"count": len(ids), "max_model_len": 4096, "tokens": ids})

    def _load(self, asked):
        name, path = asked.json["lora_name"], asked.json["lora_path"]
        if not (Path(path) / "adapter_config.json").exists():
            return error(404, f"No adapter found for {path}")
        if name in self.cards and not asked.json["load_inplace"]:
            return error(400, f"The lora adapter '{name}' has already been loaded.")
        with self._model_lock, quiet_peft():
            if name in self.adapters:
                self.model.delete_adapter(name)
                self.model.load_adapter(path, name)
            else:
                self.model = PeftModel.from_pretrained(self.model, path, adapter_name=name)
            self.model.eval()
        self.cards[name] = self.adapters[name] = path
        return Answer(f"Success: LoRA adapter '{name}' added successfully.".encode(), content_type=None)

    def _generate(self, asked):
        body = asked.json
        if body["model"] not in self.cards:
            return error(404, f"The model `{body['model']}` does not exist.")
        if "logit_bias" in body["sampling_params"]:
            self.requests.append(body)
        pictures = []
        for part in body["content_parts"] or ():
            assert part["type"] == "image_url"
            head, _, data = part["url"].partition(",")
            assert head == "data:image/png;base64"
            pictures.append(decode_png(base64.b64decode(data)))
        with self._model_lock, torch.no_grad():
            if isinstance(self.model, PeftModel) and body["model"] in self.adapters:
                self.model.set_adapter(body["model"])
                return self._answer(body, pictures)
            if isinstance(self.model, PeftModel):
                with self.model.disable_adapter():
                    return self._answer(body, pictures)
            return self._answer(body, pictures)

    def _answer(self, body, pictures):
        params, asked = body["sampling_params"], body["token_ids"]
        generator = torch.Generator().manual_seed(params.get("seed") or 0)
        prompt, following = self._read(asked, pictures)
        ids: list[int] = []
        logprobs: list[float] = []
        chosen = None
        while len(ids) < params["max_tokens"] and chosen not in params["stop_token_ids"]:
            chosen, logprob = self._choose(following(chosen), params, generator)
            ids.append(chosen)
            logprobs.append(logprob)
        reason = "stop" if chosen in params["stop_token_ids"] else "length"
        places = [place for place, token_id in enumerate(prompt) if token_id == self.codec.image_id]
        ranges = [{"offset": places[0], "length": len(places)} for _ in pictures]
        rows = [{"token_id": one, "logprob": value} for one, value in zip(ids, logprobs, strict=True)]
        choice = {"index": 0, "token_ids": ids, "finish_reason": reason, "logprobs": {"content": rows}}
        return json_answer(
            {
                "model": body["model"],
                "choices": [choice],
                "prompt_token_ids": prompt,
                "mm_placeholders": {"image": ranges} if ranges else None,
            }
        )

    def _read(self, asked, pictures):
        """Read a stream; return it with its placeholders expanded, and a function from an id to the logits after it."""
        base: Any = base_of(self.model)
        images, size = {}, 1
        if pictures:
            batch = processor_for(base.config)(pictures, return_tensors="pt", input_data_format="channels_last")
            images, size = dict(batch), int(batch["image_grid_thw"][0].prod()) // 4
        ids = expanded(base, asked, size)
        types = (ids == self.codec.image_id).int()
        grid = images.get("image_grid_thw")
        positions, _ = base.model.get_rope_index(ids, mm_token_type_ids=types, image_grid_thw=grid)
        cache = DynamicCache(config=base.config.text_config)
        last = base(
            input_ids=ids,
            position_ids=positions,
            mm_token_type_ids=types,
            past_key_values=cache,
            use_cache=True,
            **images,
        ).logits[0, -1]
        position = positions[:, :, -1:]

        def following(token_id):
            nonlocal last, position
            if token_id is not None:
                position = position + 1
                read = torch.tensor([[token_id]])
                last = base(input_ids=read, position_ids=position, past_key_values=cache, use_cache=True).logits[0, -1]
            return last.float()

        return ids[0].tolist(), following

    def _choose(self, logits, params, generator):
        """Choose as vLLM's sampler does: allowed ids, biases, temperature, and only then the cuts."""
        raw = logits.log_softmax(-1)
        if allowed := params.get("allowed_token_ids"):
            logits = torch.full_like(logits, -torch.inf).index_copy(0, torch.tensor(allowed), logits[allowed])
        for token_id, bias in (params.get("logit_bias") or {}).items():
            logits[int(token_id)] += bias
        temperature = params.get("temperature", 1.0)
        if temperature == 0:
            chosen, processed = int(logits.argmax()), logits.log_softmax(-1)
        else:
            logits = logits / temperature
            if top_k := params.get("top_k"):
                logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -torch.inf)
            processed = logits.log_softmax(-1)
            chosen = int(torch.multinomial(processed.exp(), 1, generator=generator))
        return chosen, float((processed if self.processed else raw)[chosen])


def talkative(model, codec=CODEC, *, by=3.0):
    """Make a model's end-of-turn id so likely that its turns do end; returns the model."""
    with torch.no_grad():
        model.get_input_embeddings().weight[codec.end_of_turn_id] *= by
    return model


def placed(trajectory):
    """Return where in its stream the policy's ids stand."""
    return np.flatnonzero(trajectory.loss_mask)
