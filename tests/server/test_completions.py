"""`/v1/completions`: prompts of every form, echo, logprobs, streams."""

import asyncio

import pytest
from msgspec.structs import replace

from stemma.core.types.control import FromEngine
from stemma.core.types.output import TokenChunk
from stemma.core.types.request import Request
from stemma.core.types.tokens import unpack
from tests.fake_engine import FakeEngine
from tests.server.harness import END, TOKENIZER, Json, events, fake_engine, house, says


def echoing(request: Request) -> list[int]:
    return [*unpack(request.tokens), END]


async def test_an_answer() -> None:
    async with house() as h:
        answer = (await h.post("/v1/completions", {"prompt": "Hi"})).json()
    choice = {"index": 0, "text": "Hello there", "logprobs": None, "finish_reason": "stop", "matched_stop": END}
    assert list(answer) == ["id", "object", "created", "model", "choices", "usage", "metadata"]
    assert (answer["object"], answer["model"], answer["choices"]) == ("text_completion", "default", [choice])
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (2, 12)


async def test_sixteen_tokens_unless_asked_otherwise() -> None:
    async with house(fake_engine(says("x" * 50))) as h:
        answer = (await h.post("/v1/completions", {"prompt": "Hi"})).json()
        assert (answer["choices"][0]["text"], answer["choices"][0]["finish_reason"]) == ("x" * 16, "length")


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("one", ["one"]),
        (["one", "two"], ["one", "two"]),
        ([*b"one"], ["one"]),
        ([[*b"one"], [*b"two"]], ["one", "two"]),
    ],
)
async def test_prompts_of_every_form(prompt: object, texts: list[str]) -> None:
    async with house(fake_engine(echoing)) as h:
        body: Json = {"prompt": prompt, "n": 2}
        answer = (await h.post("/v1/completions", body)).json()
        assert [choice["text"] for choice in answer["choices"]] == [text for text in texts for _ in range(2)]
        assert [choice["index"] for choice in answer["choices"]] == [*range(2 * len(texts))]
        assert answer["usage"]["prompt_tokens"] == 3 * len(texts)
        chunks = events((await h.post("/v1/completions", body | {"stream": True, "echo": True})).text)
        spoken = [""] * (2 * len(texts))
        for chunk in chunks:
            spoken[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
        assert spoken == [text * 2 for text in texts for _ in range(2)]


async def test_echo_with_logprobs_starts_at_the_prompt() -> None:
    async with house() as h:
        body: Json = {"prompt": "Hi", "max_tokens": 2, "echo": True, "logprobs": 2}
        choice = (await h.post("/v1/completions", body)).json()["choices"][0]
        chunks = events((await h.post("/v1/completions", body | {"stream": True})).text)
    assert choice["text"] == "HiHe"
    told = choice["logprobs"]
    assert list(told) == ["text_offset", "token_logprobs", "tokens", "top_logprobs"]
    assert told["text_offset"] == [-1, -1, -1, -1]
    assert told["tokens"] == ["H", "i", "H", "e"]
    assert told["token_logprobs"][0] is None
    assert all(value < 0 for value in told["token_logprobs"][1:])
    assert [top if top is None else len(top) for top in told["top_logprobs"]] == [None, 2, 2, 2]
    parts = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    for name, whole in told.items():
        assert [item for part in parts for item in part[name]] == whole


async def test_logprobs_without_alternatives() -> None:
    async with house() as h:
        body = {"prompt": "Hi", "max_tokens": 2, "logprobs": 0}
        told = (await h.post("/v1/completions", body)).json()["choices"][0]["logprobs"]
        assert told["tokens"] == ["H", "e"]
        assert told["top_logprobs"] == [None, None]


async def test_the_last_chunk_of_a_stream_has_the_end_and_then_comes_usage() -> None:
    async with house(fake_engine(says("ab"))) as h:
        body = {"prompt": "Hi", "stream": True, "stream_options": {"include_usage": True}}
        chunks = events((await h.post("/v1/completions", body)).text)
    assert [[choice["text"] for choice in chunk["choices"]] for chunk in chunks] == [["a"], ["b"], [""], []]
    assert chunks[2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[3]["usage"]["total_tokens"] == 5


class InParts(FakeEngine):
    """Tells the log-probabilities of a prompt in parts, as an engine does that computes it in parts."""

    def _say(self, chunk: TokenChunk) -> None:
        for logprob in chunk.prompt_logprobs:
            super()._say(TokenChunk(id=chunk.id, prompt_logprobs=(logprob,)))
        super()._say(replace(chunk, prompt_logprobs=()))

    async def receive(self) -> FromEngine:
        await asyncio.sleep(0.005)  # so that no two are joined on their way
        return await super().receive()


async def test_the_echo_of_a_stream_has_all_logprobs_of_its_prompt() -> None:
    engine = InParts(script=says("Hello"), vocab_size=TOKENIZER.vocab_size, context=512, stop_ids=(END,))
    async with house(engine) as h:
        body = {"prompt": "abcdef", "max_tokens": 3, "echo": True, "logprobs": 1}
        (whole,) = (await h.post("/v1/completions", body)).json()["choices"]
        stream = (await h.post("/v1/completions", body | {"stream": True})).text
        parts = [part["choices"][0] for part in events(stream)]
        assert len(parts) > 6
        assert "".join(part["text"] for part in parts) == whole["text"] == "abcdefHel"
        for name in ("tokens", "token_logprobs", "top_logprobs"):
            assert [item for part in parts for item in part["logprobs"][name]] == whole["logprobs"][name]
        assert whole["logprobs"]["tokens"] == [*"abcdefHel"]
