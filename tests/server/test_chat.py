"""`/v1/chat/completions`: bodies, streams, and what becomes of messages."""

import pytest

from stemma.core.types.tokens import unpack
from tests.server.harness import END, MODEL, TOKENIZER, Json, events, fake_engine, house, says

HI: Json = {"messages": [{"role": "user", "content": "hi"}]}


async def test_an_answer() -> None:
    async with house() as h:
        answer = (await h.post("/v1/chat/completions", HI | {"model": MODEL, "rid": "mine"})).json()
    created = answer.pop("created")
    assert isinstance(created, int)
    message = {"role": "assistant", "content": "Hello there", "reasoning_content": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop", "matched_stop": END}
    usage = {
        "prompt_tokens": 21, "total_tokens": 33, "completion_tokens": 12, "prompt_tokens_details": None,
        "reasoning_tokens": 0, "completion_tokens_details": None,
    }  # fmt: skip
    assert answer == {
        "id": "mine", "object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage,
        "metadata": {"weight_version": "default"},
    }  # fmt: skip


async def test_a_stream_is_role_text_end_usage() -> None:
    async with house(fake_engine(says("ab"))) as h:
        body = HI | {"stream": True, "stream_options": {"include_usage": True}}
        chunks = events((await h.post("/v1/chat/completions", body)).text)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    usage = chunks.pop()
    assert usage["choices"] == []
    assert [usage["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")] == [21, 3, 24]
    assert all("usage" not in chunk for chunk in chunks)
    choices = [chunk["choices"][0] for chunk in chunks]
    deltas = [choice["delta"] for choice in choices]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "a"}, {"content": "b"}, {}]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]
    assert [choice["matched_stop"] for choice in choices] == [None, None, None, END]


async def test_usage_on_every_chunk() -> None:
    async with house(fake_engine(says("ab")), cache_report=True) as h:
        body = HI | {"stream": True, "stream_options": {"continuous_usage_stats": True}}
        chunks = events((await h.post("/v1/chat/completions", body)).text)
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [1, 1, 2, 3]
    assert {chunk["usage"]["prompt_tokens"] for chunk in chunks} == {21}
    assert chunks[0]["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}


async def test_every_continuation_has_its_role_and_its_end() -> None:
    async with house() as h:
        whole = (await h.post("/v1/chat/completions", HI | {"n": 3})).json()
        assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
        assert whole["usage"]["prompt_tokens"] == 21
        assert whole["usage"]["completion_tokens"] == 36
        chunks = events((await h.post("/v1/chat/completions", HI | {"n": 3, "stream": True})).text)
    for index in range(3):
        choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert choices[0]["delta"].get("role") == "assistant"
        assert "".join(choice["delta"].get("content", "") for choice in choices) == "Hello there"
        assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"]


async def test_logprobs() -> None:
    async with house(fake_engine(says("é"))) as h:
        body = HI | {"logprobs": True, "top_logprobs": 2, "max_tokens": 2}
        whole = (await h.post("/v1/chat/completions", body)).json()["choices"][0]
        chunks = events((await h.post("/v1/chat/completions", body | {"stream": True})).text)
    told = whole["logprobs"]["content"]
    assert [item["bytes"] for item in told] == [[0xC3], [0xA9]]  # half a letter each
    assert all(item["logprob"] < 0 and len(item["top_logprobs"]) == 2 for item in told)
    assert list(told[0]["top_logprobs"][0]) == ["token", "bytes", "logprob"]
    streamed = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [item for logprobs in streamed if logprobs for item in logprobs["content"]] == told


@pytest.mark.parametrize(
    ("body", "prompt"),
    [
        ({}, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"),
        (
            {"messages": [{"role": "User", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]},
            "<|im_start|>user\na b<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            {"messages": [HI["messages"][0], {"role": "assistant", "content": "Well,"}]},
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>user\nWell,<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            {
                "messages": [HI["messages"][0], {"role": "assistant", "content": "Well,"}],
                "continue_final_message": True,
            },
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nWell,",
        ),
    ],
)
async def test_the_prompt(body: Json, prompt: str) -> None:
    async with house() as h:
        assert (await h.post("/v1/chat/completions", HI | body)).status_code == 200
        assert TOKENIZER.decode(unpack(h.requests()[0].tokens), skip_special_tokens=False) == prompt


async def test_what_a_request_means() -> None:
    async with house() as h:
        body = HI | {
            "temperature": 0.25, "top_p": 0.5, "top_k": 7, "min_p": 0.125, "repetition_penalty": 1.5,
            "frequency_penalty": 1, "presence_penalty": -1, "seed": 11, "stop": "END", "stop_token_ids": [4],
            "stop_regex": "x+", "min_tokens": 2, "max_tokens": 5, "max_completion_tokens": 9, "ignore_eos": True,
            "skip_special_tokens": False, "no_stop_trim": True, "logit_bias": {"3": 2}, "user": "me",
            "n": None, "response_format": {"type": "text"}, "tools": None, "store": True, "priority": 2,
        }  # fmt: skip
        assert (await h.post("/v1/chat/completions", body)).status_code == 200
        sampling = h.requests()[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.25, 0.5, 7, 0.125)
    assert (sampling.repetition_penalty, sampling.frequency_penalty, sampling.presence_penalty) == (1.5, 1, -1)
    assert (sampling.sampling_seed, sampling.stop, sampling.stop_token_ids) == (11, ("END",), (4,))
    assert (sampling.stop_regex, sampling.min_new_tokens, sampling.max_new_tokens) == (("x+",), 2, 9)
    assert (sampling.ignore_eos, sampling.skip_special_tokens, sampling.no_stop_trim) == (True, False, True)
    assert sampling.logit_bias == {3: 2.0}


async def test_without_max_tokens_the_context_is_the_limit() -> None:
    async with house() as h:
        await h.post("/v1/chat/completions", HI)
        assert h.requests()[0].sampling.max_new_tokens == 512 - 21
    async with house(preferred_sampling='{"max_new_tokens": 3}') as h:
        answer = (await h.post("/v1/chat/completions", HI)).json()
        assert answer["choices"][0]["message"]["content"] == "Hel"
