"""`/generate`: shapes as in the worked examples of the wire format."""

import asyncio
import re

import pytest

from stemma.core.types.request import Request
from stemma.core.types.tokens import unpack
from tests.fake_engine import hashed_logprob
from tests.server.harness import END, TOKENIZER, Json, events, fake_engine, house, says

META = [
    "id", "finish_reason", "prompt_tokens", "weight_version", "num_retractions", "completion_tokens",
    "cached_tokens", "reasoning_tokens",
]  # fmt: skip
AT_THE_END = ["e2e_latency", "response_sent_to_client_ts"]


async def test_an_answer_with_logprobs() -> None:
    async with house() as h:
        body = {
            "text": "Hi",
            "sampling_params": {"max_new_tokens": 2, "temperature": 0},
            "return_logprob": True,
            "logprob_start_len": 0,
            "top_logprobs_num": 2,
            "return_text_in_logprobs": True,
        }
        answer = (await h.post("/generate", body)).json()
        (request,) = h.requests()
    assert list(answer) == ["text", "output_ids", "meta_info"]
    assert (answer["text"], answer["output_ids"]) == ("He", [*b"He"])
    meta = answer["meta_info"]
    lists = [
        "input_token_logprobs", "input_top_logprobs", "output_token_logprobs", "output_top_logprobs",
        "output_token_logprobs_length",
    ]  # fmt: skip
    assert list(meta) == META + lists + AT_THE_END
    assert re.fullmatch("[0-9a-f]{32}", meta["id"])
    assert meta["finish_reason"] == {"type": "length", "length": 2}
    assert (meta["prompt_tokens"], meta["completion_tokens"], meta["weight_version"]) == (2, 2, "default")
    assert request.logprobs is not None
    known = [*b"HiHe"]
    told = [hashed_logprob(known, at, request.logprobs, TOKENIZER.vocab_size) for at in range(4)]
    assert meta["input_token_logprobs"] == [[None, *entry(72)], [told[1].logprob, *entry(105)]]
    assert meta["output_token_logprobs"] == [[told[2].logprob, *entry(72)], [told[3].logprob, *entry(101)]]
    assert meta["input_top_logprobs"] == [None, [[value, *entry(id)] for id, value in told[1].top]]
    assert meta["output_top_logprobs"] == [[[value, *entry(id)] for id, value in item.top] for item in told[2:]]
    assert meta["output_token_logprobs_length"] == 2


def entry(token: int) -> tuple[int, str]:
    return token, TOKENIZER.text_of(token)


async def test_text_in_logprobs_is_null_unless_asked_for_and_ids_keep_their_order() -> None:
    async with house() as h:
        body = {
            "input_ids": [*b"abc"],
            "sampling_params": {"max_new_tokens": 1},
            "return_logprob": True,
            "logprob_start_len": 1,
            "token_ids_logprob": [7, 5],
        }
        meta = (await h.post("/generate", body)).json()["meta_info"]
    # Element 0 has no logprob, wherever the list starts.
    assert [item[0] is None for item in meta["input_token_logprobs"]] == [True, False]
    assert all(item[2] is None for item in meta["input_token_logprobs"])
    assert [item[1] for item in meta["input_token_logprobs"]] == [*b"bc"]
    assert meta["input_token_ids_logprobs"][0] is None
    assert [[item[1] for item in one] for one in meta["output_token_ids_logprobs"]] == [[7, 5]]
    assert "output_top_logprobs" not in meta


async def test_a_stream_is_cumulative_by_default() -> None:
    async with house() as h:
        body = {"text": "Hi", "sampling_params": {"max_new_tokens": 3}, "stream": True, "return_logprob": True}
        response = await h.post("/generate", body)
        assert response.headers["content-type"].startswith("text/event-stream")
        chunks = events(response.text)
    assert [chunk["text"] for chunk in chunks] == ["H", "He", "Hel"]
    assert [chunk["output_ids"] for chunk in chunks] == [[72], [72, 101], [72, 101, 108]]
    assert [len(chunk["meta_info"]["output_token_logprobs"]) for chunk in chunks] == [1, 2, 3]
    assert [chunk["meta_info"]["completion_tokens"] for chunk in chunks] == [1, 2, 3]
    reasons = [chunk["meta_info"]["finish_reason"] for chunk in chunks]
    assert reasons == [None, None, {"type": "length", "length": 3}]
    assert all("index" not in chunk for chunk in chunks)


async def test_a_stream_of_deltas() -> None:
    async with house(incremental_streaming=True) as h:
        body = {"text": "Hi", "sampling_params": {"max_new_tokens": 3}, "stream": True, "return_logprob": True}
        chunks = events((await h.post("/generate", body)).text)
    assert [chunk["text"] for chunk in chunks] == ["H", "e", "l"]
    assert [chunk["output_ids"] for chunk in chunks] == [[72], [101], [108]]
    assert [len(chunk["meta_info"]["output_token_logprobs"]) for chunk in chunks] == [1, 1, 1]
    assert [chunk["meta_info"]["completion_tokens"] for chunk in chunks] == [1, 2, 3]


async def test_the_stream_interval_spaces_chunks() -> None:
    async with house(fake_engine(says("abcdefgh")), stream_interval=3, incremental_streaming=True) as h:
        body = {"text": "Hi", "stream": True}
        chunks = events((await h.post("/generate", body)).text)
    assert [chunk["text"] for chunk in chunks] == ["a", "bcd", "efg", "h"]


def echoing(request: Request) -> list[int]:
    return [*unpack(request.tokens), END]


async def test_a_batch_is_answered_in_its_order() -> None:
    async with house(fake_engine(echoing)) as h:
        params = [{"n": 2}, {"max_new_tokens": 1}]
        body: Json = {"text": ["one", "two"], "sampling_params": params, "rid": "r"}
        answers = (await h.post("/generate", body)).json()
        assert [answer["text"] for answer in answers] == ["one", "one", "t"]
        assert [answer["meta_info"]["id"] for answer in answers] == ["r_0", "r_0-1", "r_1"]
        chunks = events((await h.post("/generate", body | {"stream": True})).text)
        last = {chunk["index"]: chunk["text"] for chunk in chunks}
        assert last == {0: "one", 1: "one", 2: "t"}


async def test_a_batch_of_one_is_a_list_and_n_makes_a_list() -> None:
    async with house() as h:
        of_one = (await h.post("/generate", {"input_ids": [[65]], "rid": ["mine"]})).json()
        of_three = (await h.post("/generate", {"text": "x", "sampling_params": {"n": 3}})).json()
        assert [answer["meta_info"]["id"] for answer in of_one] == ["mine"]
        assert len(of_three) == 3


async def test_what_a_request_means() -> None:
    async with house(preferred_sampling='{"temperature": 0.5, "top_k": 3}') as h:
        params = {
            "stop": "zz", "stop_token_ids": [1, None], "stop_regex": ["a+"], "top_k": 9, "min_p": None,
            "max_new_tokens": None, "logit_bias": {"5": -1}, "sampling_seed": -3,
        }  # fmt: skip
        body = {"text": "Hi", "sampling_params": params, "priority": 4, "cache_salt": "s", "extra_key": "k"}
        assert (await h.post("/generate", body | {"unknown": [1]})).status_code == 200
        (request,) = h.requests()
    sampling = request.sampling
    assert (sampling.stop, sampling.stop_token_ids, sampling.stop_regex) == (("zz",), (1,), ("a+",))
    assert (sampling.temperature, sampling.top_k, sampling.min_p) == (0.5, 9, 0.0)
    assert (sampling.logit_bias, sampling.sampling_seed, sampling.max_new_tokens) == ({5: -1.0}, -3, 510)
    assert (request.priority, request.salt, request.logprobs) == (4, "s\nk", None)


async def test_text_wins_over_ids_and_ids_are_told_again() -> None:
    async with house() as h:
        body = {"text": "Hi", "input_ids": [1], "return_prompt_token_ids": True}
        answer = (await h.post("/generate", body)).json()
        assert answer["prompt_token_ids"] == [*b"Hi"]


@pytest.mark.parametrize(
    ("params", "reason", "text"),
    [
        ({}, {"type": "stop", "matched": END}, "Hello there"),
        ({"stop": ["o t"]}, {"type": "stop", "matched": "o t"}, "Hell"),
        ({"stop": "o", "no_stop_trim": True}, {"type": "stop", "matched": "o"}, "Hello"),
        ({"stop_regex": "l+o"}, {"type": "stop", "matched": "l+o"}, "Hello"),
        ({"max_new_tokens": 4}, {"type": "length", "length": 4}, "Hell"),
        ({"max_new_tokens": 0}, {"type": "length", "length": 0}, ""),
    ],
)
async def test_how_an_answer_ends(params: Json, reason: Json, text: str) -> None:
    async with house() as h:
        answer = (await h.post("/generate", {"text": "Hi", "sampling_params": params})).json()
        assert answer["meta_info"]["finish_reason"] == reason
        assert answer["text"] == text


async def test_an_abort_is_an_end_like_another() -> None:
    engine = fake_engine(seconds_per_chunk=0.01)
    async with house(engine) as h:
        body: Json = {"text": "Hi", "rid": "long", "sampling_params": {"max_new_tokens": 400, "ignore_eos": True}}
        task = asyncio.create_task(h.post("/generate", body))
        while not engine.running:
            await asyncio.sleep(0.001)
        assert (await h.post("/abort_request", {"rid": "lo"})).status_code == 200
        reason = (await task).json()["meta_info"]["finish_reason"]
        assert (reason["type"], reason["status_code"]) == ("abort", None)
        assert not engine.running


async def test_put_is_the_same_as_post() -> None:
    async with house() as h:
        assert (await h.http.put("/generate", json={"text": "Hi"})).json()["text"] == "Hello there"


async def test_a_length_that_nobody_asked_for_gives_way_to_the_context() -> None:
    prompt = [1] * 511  # all but one of the context

    async with house(preferred_sampling='{"max_new_tokens": 40}') as preferring, house() as h:
        for path, name in (("/generate", "input_ids"), ("/v1/completions", "prompt")):
            for door in (h, preferring):
                assert (await door.post(path, {name: prompt})).status_code == 200
                assert door.requests()[-1].sampling.max_new_tokens == 1
        refused: list[tuple[str, Json]] = [
            ("/generate", {"input_ids": prompt, "sampling_params": {"max_new_tokens": 2}}),
            ("/generate", {"input_ids": [1] * 512}),
            ("/v1/completions", {"prompt": prompt, "max_tokens": 2}),
            ("/v1/completions", {"prompt": [1] * 512}),
        ]
        for path, body in refused:
            assert (await h.post(path, body)).status_code == 400


@pytest.mark.parametrize("is_incremental", [False, True])
async def test_streams_of_many_logprobs_cost_what_they_tell(is_incremental: bool) -> None:
    """With 100 for each of 400 positions, every event for itself would make 8 million in all."""
    async with house(fake_engine(), incremental_streaming=is_incremental) as h:
        body = {
            "input_ids": [1] * 200, "sampling_params": {"max_new_tokens": 200, "ignore_eos": True}, "stream": True,
            "return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": 100,
        }  # fmt: skip
        parts = [event["meta_info"] for event in events((await h.post("/generate", body)).text)]
    told = sum(len(part[name]) * 101 for part in parts for name in ("input_top_logprobs", "output_top_logprobs"))
    assert told < 2_000_000
    of_output = parts if is_incremental else parts[-1:]
    assert sum(len(part["output_top_logprobs"]) for part in of_output) == 200
    assert [len(part["input_top_logprobs"]) for part in parts] == [200] * len(parts)
    assert len(parts) > 10
    assert parts[0]["completion_tokens"] == 1
