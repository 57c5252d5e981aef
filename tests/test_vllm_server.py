"""`VLLMServer` against answers by script: what is refused, what is tried again, and what is never shown."""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from typing import Any

import numpy as np
import pytest

pytest.importorskip("requests", reason="the extra `record` is not installed")

from mmsearch_agents.vllm import VLLMPolicy, VLLMServer
from mmsearch_env.codec import load_codec
from mmsearch_env.errors import ConfigurationError, WebFault
from mmsearch_env.web import WebLimits
from tests.loopback import Answer, Loopback, json_answer

CODEC = load_codec()
END, IMAGE = CODEC.end_of_turn_id, CODEC.image_id
ASKED = [CODEC.start_of_turn_id, IMAGE, 11]
PICTURE = np.zeros((8, 8, 3), np.uint8)
QUICK = WebLimits(backoff=0.01, connect_timeout=2.0, read_timeout=0.3, total_timeout=5.0, retries=2)


def scored(token_ids, logprob=-0.5):
    return [{"token_id": one, "logprob": logprob} for one in token_ids]


def answer(token_ids=(12, END), *, logprob=-0.5, reason="stop", prompt=None, pictures=1, **changes):
    """Answer a request for a turn; the model is as long as nothing is changed."""
    choice = {
        "index": 0,
        "token_ids": list(token_ids),
        "finish_reason": reason,
        "logprobs": {"content": scored(token_ids, logprob)},
    }
    shown = {"image": [{"offset": 1, "length": 2}] * pictures} if pictures else None
    whole = {"choices": [choice], "prompt_token_ids": prompt or [ASKED[0], IMAGE, IMAGE, 11], "mm_placeholders": shown}
    return {**whole, **changes}


def checked(asked):
    """Answer the request that only checks the server, as it should be."""
    return json_answer(answer((END,), logprob=0.0, prompt=asked.json["token_ids"], pictures=0))


@pytest.fixture
def loopback():
    def tokenize(asked):
        text = asked.json["prompt"].removeprefix("<|im_start|>").removesuffix("<|im_end|><|image_pad|>")
        return json_answer({"tokens": [CODEC.start_of_turn_id, *CODEC.encode_move(text), END, IMAGE]})

    routes = {
        "/v1/models": json_answer({"data": [{"id": "first", "root": "a/model"}, {"id": "second", "root": "b/model"}]}),
        "/tokenize": tokenize,
        "/inference/v1/generate": [checked, json_answer(answer())],
    }
    with Loopback(routes) as loopback:
        yield loopback


@pytest.fixture
def connect(loopback):
    made = []

    def connect(**options):
        made.append(VLLMServer(loopback.url().rstrip("/"), CODEC, **{"limits": QUICK, **options}))
        return made[-1]

    yield connect
    for server in made:
        server.close()


def generate(server, **options):
    return server.generate(ASKED, [PICTURE], **{"max_tokens": 5, "seed": 1, **options})


def turns(loopback):
    return [asked.json for asked in loopback.asked("/inference/v1/generate")][1:]


def test_a_request_says_all_that_decides_about_the_ids(loopback, connect):
    found = generate(connect(vocab_size=CODEC.vocab_size + 2), temperature=0.5, top_p=0.9, top_k=7)
    assert (found.token_ids, found.logprobs, found.ended) == ((12, END), (-0.5, -0.5), True)
    (body,) = turns(loopback)
    params = body["sampling_params"]
    assert body["model"] == "first"
    assert body["token_ids"] == ASKED
    assert [params[name] for name in ("max_tokens", "temperature", "top_p", "top_k", "seed")] == [5, 0.5, 0.9, 7, 1]
    assert params["stop_token_ids"] == [END]
    assert params["ignore_eos"]
    forbidden = {*CODEC.forbidden_ids, CODEC.vocab_size, CODEC.vocab_size + 1}
    assert params["logit_bias"] == {str(token_id): -100 for token_id in forbidden}


def test_a_turn_may_fill_the_room_without_an_end(loopback, connect):
    loopback.route("/inference/v1/generate", [checked, json_answer(answer((12, 13), reason="length"))])
    found = generate(connect(), max_tokens=2)
    assert (found.token_ids, found.ended) == ((12, 13), False)


SCRIPTS = {
    "no ids": (answer(choices=[{"text": "hello", "finish_reason": "stop"}]), "one choice with token_ids"),
    "no log-probabilities": (
        answer(choices=[{"token_ids": [12, END], "finish_reason": "stop", "logprobs": None}]),
        "one choice with token_ids, logprobs",
    ),
    "ids of others": (
        answer(choices=[{**answer()["choices"][0], "token_ids": [13, END]}]),
        "one log-probability for each of 2 ids",
    ),
    "none at all": (answer(logprob=-9999.0), "finite log-probabilities"),
    "a density": (answer(logprob=0.7), "finite log-probabilities, none above 0"),
    "a number beyond floats": (answer(logprob=-(10**400)), "finite log-probabilities"),
    "a truth value": (answer(logprob=False), "finite log-probabilities"),
    "rows that are none": (
        answer(choices=[{**answer()["choices"][0], "logprobs": {"content": [*scored((12, END)), "x"]}}]),
        "one log-probability for each of 2 ids",
    ),
    "a reserved id": (answer((CODEC.start_of_turn_id, END)), "ids that a policy may emit"),
    "an id of a larger model": (answer((CODEC.vocab_size, END)), "give vocab_size"),
    "an end in the middle": (answer((END, 12, END)), "a turn that ends with its end-of-turn id"),
    "an abort": (answer((12,), reason="abort"), "a turn that ends with its end-of-turn id"),
    "a stop elsewhere": (answer((12,), reason="stop"), "a turn that ends with its end-of-turn id"),
    "too little room": (answer((12,), reason="length"), "raise --max-model-len"),
    "other ids read": (answer(prompt=[ASKED[0], IMAGE, 12]), "to read the 3 ids that it was sent"),
    "ids in lists": (answer(prompt=[[1, 2], [3, 4]]), "to read the 3 ids that it was sent"),
    "ids in lists and not": (answer(prompt=[1, [3, 4]]), "to read the 3 ids that it was sent"),
    "a picture lost": (answer(pictures=0, prompt=ASKED), "to see 1 pictures"),
    "pictures by their number": (answer(mm_placeholders={"image": 1}), "to see 1 pictures"),
    "no prompt": (answer(prompt_token_ids=None), "and prompt_token_ids"),
    "no choice": (answer(choices=[]), "one choice"),
    "no object": ([1, 2], "one choice"),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_answer_that_is_not_what_was_asked_for_is_refused(loopback, connect, script):
    said, message = SCRIPTS[script]
    loopback.route("/inference/v1/generate", [checked, json_answer(said)])
    with pytest.raises(WebFault, match=message) as caught:
        generate(connect())
    assert caught.value.kind == "schema"


def test_a_model_that_is_not_served_is_named_with_those_that_are(connect):
    with pytest.raises(ConfigurationError, match=r"first, second; got 'seconds'\. Did you mean 'second'"):
        generate(connect(model="seconds"))


def test_another_vocabulary_is_refused_before_anything_is_sampled(loopback, connect):
    loopback.route("/tokenize", json_answer({"tokens": [1, 2, 3]}))
    with pytest.raises(ConfigurationError, match="to have the environment's tokenizer 'builtin'"):
        generate(connect())
    assert not loopback.asked("/inference/v1/generate")


def test_log_probabilities_of_another_distribution_are_refused(loopback, connect):
    raw = json_answer(answer((END,), logprob=-4.2, prompt=[CODEC.start_of_turn_id], pictures=0))
    loopback.route("/inference/v1/generate", raw)
    with pytest.raises(ConfigurationError, match=r"got -4\.2 .* --logprobs-mode processed_logprobs"):
        generate(connect())


@pytest.mark.parametrize(("status", "said"), [(403, "Scale-out endpoints are disabled."), (404, "Not Found")])
def test_a_server_without_the_route_says_how_to_start_it(loopback, connect, status, said):
    loopback.route("/inference/v1/generate", json_answer({"error": {"message": said}}, status=status))
    with pytest.raises(WebFault, match=rf"got {status} .*{said}.* --enable-scale-out"):
        generate(connect())


@pytest.mark.parametrize(
    "fault", [json_answer({}, status=429), json_answer({}, status=503), Answer(fault="reset"), Answer(fault="silence")]
)
def test_a_fault_that_passes_is_waited_out(loopback, connect, fault):
    loopback.route("/inference/v1/generate", [checked, fault, json_answer(answer())])
    assert generate(connect()).ended
    assert len(turns(loopback)) == 2
    assert turns(loopback)[0] == turns(loopback)[1]


@pytest.mark.parametrize(
    ("fault", "kind", "times"),
    [
        (json_answer({"error": "busy"}, status=500), "status", 3),
        (json_answer({"error": "max_tokens is too large"}, status=400), "status", 1),
        (Answer(fault="silence"), "timeout", 2),
        (Answer(b"<html>", content_type="text/html"), "content_type", 1),
        (Answer(b"{", content_type="application/json"), "bad_json", 1),
    ],
)
def test_a_fault_that_stays_is_raised_with_its_reason(loopback, connect, fault, kind, times):
    loopback.route("/inference/v1/generate", [checked, fault])
    with pytest.raises(WebFault, match="/inference/v1/generate") as caught:
        generate(connect())
    assert caught.value.kind == kind
    assert len(turns(loopback)) == times


def test_a_server_that_is_not_there_is_a_fault_of_the_connection(loopback, connect):
    server = connect()
    loopback.close()
    with pytest.raises(WebFault, match="to be answered") as caught:
        generate(server)
    assert caught.value.kind == "connection"


def test_rows_go_on_after_a_fault_where_they_were(loopback):
    codec, stream = CODEC, np.zeros((1, 16), np.int32)
    stream[0, :3] = ASKED
    seen: dict[str, Any] = {"tokens": stream, "length": np.array([[3]], np.int32), "image": PICTURE[None]}
    loopback.route("/inference/v1/generate", [checked, json_answer({}, status=400), json_answer(answer())])
    policy = VLLMPolicy(loopback.url().rstrip("/"), codec, limits=QUICK)
    with pytest.raises(WebFault, match="400"):
        policy.act(seen)
    assert policy.act(seen).token_ids.tolist() == [12]
    policy.close()


def test_the_key_is_sent_and_shown_nowhere(loopback, connect, monkeypatch):
    key = "sesame-0123456789"
    monkeypatch.setenv("TINY_KEY", key)
    echo = json_answer({"error": f"no such key: Bearer {key}"}, status=401)
    loopback.route("/inference/v1/generate", [checked, json_answer(answer()), echo])
    server = connect(key_variable="TINY_KEY")
    generate(server)
    assert {asked.headers["authorization"] for asked in loopback.asked()} == {f"Bearer {key}"}
    with pytest.raises(WebFault, match="401") as caught:
        generate(server)
    assert key not in "".join(traceback.format_exception(caught.value))
    assert key not in repr(vars(server))


def test_a_missing_key_names_its_variable(connect, monkeypatch):
    monkeypatch.delenv("TINY_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="TINY_KEY"):
        generate(connect(key_variable="TINY_KEY"))


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8000", "ftp://host", "http://me:secret@host", "http://host/v1", "http://host/?key=secret"]
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused_without_repeating_it(address):
    with pytest.raises(ConfigurationError, match="Expected a base_url such as") as caught:
        VLLMServer(address, CODEC)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("size", [CODEC.vocab_size - 1, CODEC.vocab_size + 1100])
def test_a_vocabulary_that_does_not_fit_is_refused(size):
    with pytest.raises(ConfigurationError, match="vocab_size"):
        VLLMServer("http://127.0.0.1:1", CODEC, vocab_size=size)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"temperature": 3.0}, {"top_p": 0.0}, {"in_flight": 0}])
def test_sampling_that_vllm_does_not_have_is_refused(options):
    with pytest.raises(ConfigurationError, match="Expected temperature"):
        VLLMPolicy("http://127.0.0.1:1", CODEC, **options)


def test_pictures_and_placeholders_come_in_equal_numbers(connect):
    with pytest.raises(ConfigurationError, match="got 0 pictures and 1 placeholders"):
        connect().generate(ASKED, [], max_tokens=5)


def test_an_adapter_that_is_not_served_afterwards_is_an_error(loopback, connect, tmp_path):
    loopback.route("/v1/load_lora_adapter", Answer(b"Success", content_type=None))
    server = connect()
    with pytest.raises(ConfigurationError, match=r"to serve .* as 'mine' after it was loaded, got None"):
        server.load_adapter("mine", tmp_path)
    assert server.model == "first"
    cards = [{"id": "first", "root": "a/model"}, {"id": "mine", "root": str(tmp_path)}]
    loopback.route("/v1/models", json_answer({"data": cards}))
    server.load_adapter("mine", tmp_path)
    assert server.model == "mine"
    (*_, asked) = loopback.asked("/v1/load_lora_adapter")
    assert json.loads(asked.body) == {"lora_name": "mine", "lora_path": str(tmp_path), "load_inplace": True}


def test_a_server_that_may_not_load_adapters_is_a_fault(loopback, connect, tmp_path):
    server = connect()
    with pytest.raises(WebFault, match="404"):
        server.load_adapter("mine", tmp_path)
    assert server.model == "first"


def test_importing_the_agents_loads_no_client_and_the_client_no_torch():
    code = (
        "import mmsearch_agents, sys; assert 'mmsearch_agents.vllm' not in sys.modules; "
        "import mmsearch_agents.vllm; print(*{'torch', 'vllm', 'requests', 'peft'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.split() == []
