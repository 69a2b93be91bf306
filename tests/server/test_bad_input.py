"""Whatever is sent: a 400 that names the field, never a 500, and a server that still answers."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stemma.front.text.tokenizer import MAX_BYTES
from tests.server.harness import House, Json, fake_engine, house

CHAT = "/v1/chat/completions"
HI: Json = {"messages": [{"role": "user", "content": "hi"}]}
LONG = "x" * 600


def sampling(**params: object) -> Json:
    return {"text": "Hi", "sampling_params": params}


# route, body, and what the message must name
WRONG: list[tuple[str, object, str]] = [
    ("/generate", {}, "text"),
    ("/generate", [], "object"),
    ("/generate", "text", "object"),
    ("/generate", {"text": 3}, "text"),
    ("/generate", {"text": ""}, "text"),
    ("/generate", {"text": []}, "text"),
    ("/generate", {"text": ["a", ""]}, "text[1]"),
    ("/generate", {"text": ["a", None]}, "text[1]"),
    ("/generate", {"text": ["x"] * 4097}, "text"),
    ("/generate", {"text": LONG}, "text"),
    ("/generate", {"input_ids": []}, "input_ids"),
    ("/generate", {"input_ids": [[]]}, "input_ids[0]"),
    ("/generate", {"input_ids": [1, [2]]}, "input_ids"),
    ("/generate", {"input_ids": [-1]}, "input_ids[0]"),
    ("/generate", {"input_ids": [2**31]}, "input_ids[0]"),
    ("/generate", {"input_ids": [10**30]}, "input_ids[0]"),
    ("/generate", {"input_ids": [99999]}, "input_ids"),
    ("/generate", {"input_ids": [1.5]}, "input_ids[0]"),
    ("/generate", {"input_ids": [True]}, "input_ids[0]"),
    ("/generate", sampling(nonsense=1), "sampling_params.nonsense"),
    ("/generate", sampling(max_new_tokens=-1), "sampling_params.max_new_tokens"),
    ("/generate", sampling(max_new_tokens=10**12), "sampling_params.max_new_tokens"),
    ("/generate", sampling(max_new_tokens=5000), "sampling_params.max_new_tokens"),
    ("/generate", sampling(min_new_tokens=9, max_new_tokens=3), "min_new_tokens"),
    ("/generate", sampling(temperature=-0.1), "sampling_params.temperature"),
    ("/generate", sampling(temperature="hot"), "sampling_params.temperature"),
    ("/generate", sampling(top_p=0), "sampling_params.top_p"),
    ("/generate", sampling(top_p=1.1), "sampling_params.top_p"),
    ("/generate", sampling(top_k=0), "sampling_params.top_k"),
    ("/generate", sampling(top_k=-2), "sampling_params.top_k"),
    ("/generate", sampling(top_k=True), "sampling_params.top_k"),
    ("/generate", sampling(min_p=2), "sampling_params.min_p"),
    ("/generate", sampling(frequency_penalty=3), "sampling_params.frequency_penalty"),
    ("/generate", sampling(repetition_penalty=0), "sampling_params.repetition_penalty"),
    ("/generate", sampling(logit_bias={"x": 1}), "sampling_params.logit_bias"),
    ("/generate", sampling(logit_bias={"-1": 1}), "sampling_params.logit_bias"),
    ("/generate", sampling(logit_bias={"99999": 1}), "logit_bias"),
    ("/generate", sampling(logit_bias={"1": 1e300}), "sampling_params.logit_bias"),
    ("/generate", sampling(stop=[""]), "sampling_params.stop"),
    ("/generate", sampling(stop=["x"] * 33), "sampling_params.stop"),
    ("/generate", sampling(stop=3), "sampling_params.stop"),
    ("/generate", sampling(stop_regex="("), "stop_regex"),
    ("/generate", sampling(stop_regex="x" * 257), "sampling_params.stop_regex"),
    ("/generate", sampling(stop_token_ids=[99999]), "stop_token_ids"),
    ("/generate", sampling(sampling_seed=2**63), "sampling_params.sampling_seed"),
    ("/generate", sampling(n=0), "sampling_params.n"),
    ("/generate", sampling(n=5_000_000), "sampling_params.n"),
    ("/generate", sampling(beam_width=4), "sampling_params.beam_width"),
    ("/generate", {"text": ["a"] * 40, "sampling_params": {"n": 128}}, "sampling_params.n"),
    ("/generate", {"text": ["a", "b"], "sampling_params": [{}]}, "sampling_params"),
    ("/generate", {"text": ["a", "b"], "sampling_params": [{}, {"top_k": -7}]}, "sampling_params[1].top_k"),
    ("/generate", {"text": "a", "sampling_params": 3}, "sampling_params"),
    ("/generate", {"text": ["a", "b"], "rid": ["x", "x"]}, "rid"),
    ("/generate", {"text": "a", "rid": ""}, "rid"),
    ("/generate", {"text": "a", "rid": "x" * 300}, "rid"),
    ("/generate", {"text": "a", "stream": "yes"}, "stream"),
    ("/generate", {"text": "a", "return_logprob": True, "top_logprobs_num": 10**9}, "top_logprobs_num"),
    ("/generate", {"text": "a", "return_logprob": True, "top_logprobs_num": -1}, "top_logprobs_num"),
    ("/generate", {"text": "a", "return_logprob": True, "logprob_start_len": 99}, "logprob_start_len"),
    ("/generate", {"text": "a", "return_logprob": True, "logprob_start_len": -2}, "logprob_start_len"),
    ("/generate", {"text": "a", "return_logprob": True, "token_ids_logprob": [99999]}, "token_ids_logprob"),
    ("/generate", {"text": "a", "return_logprob": True, "token_ids_logprob": [-1]}, "token_ids_logprob[0]"),
    ("/generate", {"text": "a", "return_logprob": True, "token_ids_logprob": [1] * 2000}, "token_ids_logprob"),
    ("/generate", {"text": "a", "return_logprob": [True, False]}, "return_logprob"),
    ("/generate", {"text": "a", "priority": 2**40}, "priority"),
    ("/generate", {"text": "a", "image_data": "cat.png"}, "image_data"),
    ("/generate", {"text": "a", "lora_path": "x"}, "lora_path"),
    ("/generate", {"text": "a", "return_hidden_states": True}, "return_hidden_states"),
    (CHAT, {}, "messages"),
    (CHAT, {"messages": []}, "messages"),
    (CHAT, {"messages": "hi"}, "messages"),
    (CHAT, {"messages": ["hi"]}, "messages[0]"),
    (CHAT, {"messages": [{"content": "hi"}]}, "messages[0].role"),
    (CHAT, {"messages": [{"role": "king", "content": "hi"}]}, "messages[0].role"),
    (CHAT, {"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
    (CHAT, {"messages": [{"role": "user", "content": LONG}]}, "messages"),
    (CHAT, HI | {"max_tokens": 0}, "max_tokens"),
    (CHAT, HI | {"max_tokens": 10**12}, "max_tokens"),
    (CHAT, HI | {"max_tokens": 5000}, "max_tokens"),
    (CHAT, HI | {"n": 0}, "n"),
    (CHAT, HI | {"n": 129}, "n"),
    (CHAT, HI | {"logprobs": 5}, "logprobs"),
    (CHAT, HI | {"logprobs": True, "top_logprobs": 100_000}, "top_logprobs"),
    (CHAT, HI | {"top_logprobs": 3}, "top_logprobs"),
    (CHAT, HI | {"temperature": -1}, "temperature"),
    (CHAT, HI | {"seed": 2**70}, "seed"),
    (CHAT, HI | {"stop": [1]}, "stop"),
    (CHAT, HI | {"logit_bias": {"a": 1}}, "logit_bias"),
    (CHAT, HI | {"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    (CHAT, HI | {"response_format": {"type": "yaml"}}, "response_format.type"),
    (CHAT, HI | {"response_format": "json"}, "response_format"),
    (CHAT, HI | {"model": "tiny:adapter"}, "model"),
    (CHAT, HI | {"stream_options": 3}, "stream_options"),
    (CHAT, HI | {"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs"),
    (CHAT, HI | {"continue_final_message": True}, "continue_final_message"),
    ("/v1/completions", {}, "prompt"),
    ("/v1/completions", {"prompt": ""}, "Prompt cannot be empty"),
    ("/v1/completions", {"prompt": []}, "Prompt cannot be empty"),
    ("/v1/completions", {"prompt": ["a", ""]}, "Prompt cannot be empty"),
    ("/v1/completions", {"prompt": ["a", 1]}, "prompt"),
    ("/v1/completions", {"prompt": [1, [1]]}, "prompt"),
    ("/v1/completions", {"prompt": [-1]}, "prompt[0]"),
    ("/v1/completions", {"prompt": [[1], [99999]]}, "prompt[1]"),
    ("/v1/completions", {"prompt": "a", "max_tokens": 0}, "max_tokens"),
    ("/v1/completions", {"prompt": "a", "min_tokens": 99}, "min_tokens"),
    ("/v1/completions", {"prompt": "a", "logprobs": 129}, "logprobs"),
    ("/v1/completions", {"prompt": "a", "suffix": "b"}, "suffix"),
    ("/v1/completions", {"prompt": "a", "best_of": 3}, "best_of"),
    ("/v1/completions", {"prompt": ["a"] * 100, "n": 100}, "n"),
    ("/tokenize", {}, "prompt"),
    ("/tokenize", {"prompt": "a", "messages": HI["messages"]}, "prompt"),
    ("/tokenize", {"messages": []}, "messages"),
    ("/tokenize", {"prompt": 3}, "prompt"),
    ("/detokenize", {"tokens": []}, "tokens"),
    ("/detokenize", {"tokens": [1, [2]]}, "tokens"),
    ("/detokenize", {"tokens": [-5]}, "tokens[0]"),
    ("/detokenize", {"tokens": "x"}, "tokens"),
    ("/abort_request", {}, "rid"),
    ("/abort_request", {"rid": 3}, "rid"),
]


def message_of(path: str, content: Json) -> str:
    """Checks that the body has the form of its family of routes."""
    if path.startswith("/v1") or "tokenize" in path:
        assert list(content) == ["object", "message", "type", "param", "code"]
        assert (content["object"], content["type"], content["param"]) == ("error", "BadRequestError", None)
        assert content["code"] == 400
        return str(content["message"])
    error = content["error"]
    return str(error["message"]) if isinstance(error, dict) else str(error)


async def test_the_field_is_named() -> None:
    async with house() as h:
        for path, body, name in WRONG:
            for stream in (False, True) if isinstance(body, dict) and "stream" not in body else (None,):
                sent = body if stream is None else body | {"stream": stream}  # type: ignore[operator]  # it is a dict
                response = await h.post(path, sent)
                assert response.status_code == 400, (path, body, response.text)
                assert name in message_of(path, response.json()), (path, body, response.text)
        assert h.requests() == []
        assert (await h.post(CHAT, HI)).status_code == 200


@pytest.mark.parametrize("path", ["/generate", CHAT, "/v1/completions", "/tokenize", "/detokenize", "/abort_request"])
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff\xfe", b'{"text": "\xff"}', b"nul", b'{"text": "a"} x', b'{"text": NaN}',
        b'{"text": "\\ud800"}',
        b'{"stream": 1e999, "tokens": 1e999}', b"[" * 100_000, b'{"a":' * 50_000, b"\x00", b'"\\ud800"',
    ],
)  # fmt: skip
async def test_what_is_no_json_is_a_400(path: str, body: bytes) -> None:
    async with house() as h:
        response = await h.http.post(path, content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400, response.text
        assert message_of(path, response.json())


async def test_a_schema_violation_of_generate_is_a_plain_string() -> None:
    async with house() as h:
        assert (await h.post("/generate", {"text": 3})).json() == {
            "error": "text: Expected `str | array | null`, got `int`"
        }
        unknown = (await h.post("/generate", sampling(x=1))).json()["error"]
        assert unknown.startswith("sampling_params.x: unknown field `x`, expected one of max_new_tokens")
        refused = (await h.post("/generate", {"text": LONG})).json()
        assert list(refused) == ["error"]
        assert list(refused["error"]) == ["message"]


async def test_openai_routes_want_their_content_type() -> None:
    async with house() as h:
        for kind in ({}, {"content-type": "text/plain"}):
            response = await h.http.post(CHAT, content=json.dumps(HI), headers=kind)
            assert response.status_code == 400
            assert "Unsupported Media Type" in response.json()["message"]
        headers = {"content-type": "application/json; charset=utf-8"}
        assert (await h.http.post(CHAT, content=json.dumps(HI), headers=headers)).status_code == 200


async def test_text_that_would_fill_the_memory_as_tokens_is_refused_before_it_is_tokenized() -> None:
    """A body of 32 MB is admitted; its tokens, while they are made, would take gigabytes."""
    text = "a b " * (MAX_BYTES // 4 + 1)
    bodies: list[tuple[str, Json]] = [
        ("/generate", {"text": text}),
        ("/v1/completions", {"prompt": text}),
        ("/tokenize", {"prompt": ["fine", text]}),
        ("/detokenize", {"tokens": [[1] * (1 << 19), [1] * (1 << 19), [1]]}),
        (CHAT, {"messages": [{"role": "user", "content": text}]}),
    ]
    async with house() as h:
        for path, body in bodies:
            began = time.monotonic()
            response = await h.post(path, body)
            assert response.status_code == 400
            assert f"at most {MAX_BYTES if path != '/detokenize' else 1 << 20}" in response.text
            assert time.monotonic() - began < 3


async def test_a_body_is_counted_while_it_is_read() -> None:
    async with house(max_body_bytes=1000) as h:
        sent = 0

        async def parts(count: int) -> AsyncIterator[bytes]:
            nonlocal sent
            for _ in range(count):
                sent += 100
                yield b" " * 100

        for path in (CHAT, "/generate"):
            response = await h.http.post(path, content=parts(20))
            assert (response.status_code, sent) == (413, 2000)  # a little too much is read, to be told politely
            sent = 0
            assert (await h.http.post(path, content=parts(10_000))).status_code == 413
            assert sent < 10_000  # much too much is not
            sent = 0
        assert (await h.http.post(CHAT, content=b"x", headers={"content-length": "99999999"})).status_code == 413
        assert (await h.post(CHAT, HI)).status_code == 200


async def test_what_the_engine_refuses_is_a_plain_error_even_for_a_stream() -> None:
    engine = fake_engine(seconds_per_chunk=5, max_queued=1)
    async with house(engine) as h:
        first = asyncio.create_task(h.post(CHAT, HI))
        while not engine.running:
            await asyncio.sleep(0.001)
        for path, body in ((CHAT, HI), ("/v1/completions", {"prompt": "a"}), ("/generate", {"text": "a"})):
            for stream in (False, True):
                response = await h.post(path, body | {"stream": stream})
                assert response.status_code == 503
                assert response.headers["retry-after"] == "1"
                assert "queue is full" in response.text
        first.cancel()


async def test_the_same_id_twice_at_once() -> None:
    engine = fake_engine(seconds_per_chunk=5)
    async with house(engine) as h:
        first = asyncio.create_task(h.post("/generate", {"text": "a", "rid": "x"}))
        while not engine.running:
            await asyncio.sleep(0.001)
        response = await h.post("/generate", {"text": "a", "rid": "x"})
        assert response.status_code == 400
        assert "'x'" in response.text
        first.cancel()


FIELDS = [
    "text", "input_ids", "sampling_params", "prompt", "messages", "stream", "n", "stop", "rid", "tokens", "logprobs",
    "top_logprobs", "max_tokens", "logit_bias", "return_logprob", "logprob_start_len", "temperature", "role", "content",
    "top_k", "seed", "stream_options", "echo", "chat_template_kwargs", "token_ids_logprob", "priority", "abort_all",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=4), inner),
    max_leaves=12,
)
BODIES = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6)
VALID = st.sampled_from([{}, HI, {"text": "a"}, {"prompt": "a"}, {"tokens": [1]}, {"input_ids": [[1], [2]]}])


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    path=st.sampled_from(sorted({path for path, _, _ in WRONG})), valid=VALID, body=BODIES, noise=st.binary(max_size=40)
)
def test_garbage_is_never_a_500(path: str, valid: Json, body: Json, noise: bytes) -> None:
    async def main() -> None:
        async with house() as h:
            await answers(h, path, json.dumps(valid | body).encode())
            await answers(h, path, noise)
            assert (await h.http.get("/health")).status_code == 200
            assert not h.engine.running

    asyncio.run(main())


async def answers(h: House, path: str, content: bytes) -> None:
    response = await h.http.post(path, content=content, headers={"content-type": "application/json"})
    assert response.status_code in (200, 400), response.text
