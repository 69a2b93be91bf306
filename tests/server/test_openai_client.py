"""The official client against a real socket."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.fake_engine import FakeEngine
from tests.server.harness import MODEL, House, fake_engine, house, on_a_port, says

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


@asynccontextmanager
async def client_of(
    engine: FakeEngine | None = None, key: str | None = None, sent_key: str = "none"
) -> AsyncGenerator[tuple[openai.AsyncOpenAI, House], None]:
    async with (
        house(engine, api_key=key) as h,
        on_a_port(h.app) as address,
        openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=sent_key, max_retries=0) as client,
    ):
        yield client, h


async def test_chat() -> None:
    async with client_of() as (client, _):
        answer = await client.chat.completions.create(model=MODEL, messages=HI, logprobs=True, top_logprobs=1)
        choice = answer.choices[0]
        assert (choice.message.content, choice.finish_reason) == ("Hello there", "stop")
        assert answer.usage is not None
        assert answer.usage.total_tokens == 33
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert bytes(item.bytes[0] for item in choice.logprobs.content[:5] if item.bytes) == b"Hello"
        assert len(choice.logprobs.content[0].top_logprobs) == 1


async def test_chat_stream() -> None:
    async with client_of() as (client, _):
        text, finish, usage = "", None, None
        stream = await client.chat.completions.create(
            model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True}
        )
        async for chunk in stream:
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
            usage = chunk.usage or usage
        assert (text, finish) == ("Hello there", "stop")
        assert usage is not None
        assert usage.completion_tokens == 12


async def test_completions() -> None:
    async with client_of(fake_engine(says("abc"))) as (client, _):
        answer = await client.completions.create(model=MODEL, prompt=["x", "y"], logprobs=1, echo=True, n=2)
        assert [choice.text for choice in answer.choices] == ["xabc", "xabc", "yabc", "yabc"]
        assert answer.choices[0].logprobs is not None
        assert answer.choices[0].logprobs.tokens is not None
        assert answer.choices[0].logprobs.tokens[:4] == ["x", "a", "b", "c"]
        stream = await client.completions.create(model=MODEL, prompt="x", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == "abc"


async def test_models() -> None:
    async with client_of() as (client, _):
        assert [model.id async for model in client.models.list()] == [MODEL]
        assert (await client.models.retrieve(MODEL)).id == MODEL
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("other")
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_errors_are_of_the_right_class() -> None:
    async with client_of(key="secret", sent_key="secret") as (client, h):
        with pytest.raises(openai.BadRequestError, match="temperature") as caught:
            await client.chat.completions.create(model=MODEL, messages=HI, temperature=-1)
        assert caught.value.status_code == 400
        with pytest.raises(openai.BadRequestError, match="n: "):
            await client.chat.completions.create(model=MODEL, messages=HI, n=1000, stream=True)
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="guess").chat.completions.create(model=MODEL, messages=HI)
        h.engine.die()
        h.service.client.engine_died("the engine died")
        with pytest.raises(openai.InternalServerError, match="starting") as dead:
            await client.chat.completions.create(model=MODEL, messages=HI)
        assert dead.value.status_code == 503


async def test_an_engine_that_dies_ends_a_stream_with_one_error() -> None:
    async with client_of(fake_engine(seconds_per_chunk=0.005)) as (client, h):
        stream = await client.chat.completions.create(model=MODEL, messages=HI, stream=True)
        seen = 0
        with pytest.raises(openai.APIError, match="killed by SIGKILL"):
            async for _ in stream:
                seen += 1
                if seen == 3:
                    h.engine.die()
                    h.service.client.engine_died("the engine died (killed by SIGKILL)")
        assert seen >= 3
        h.engine.revive()
        await h.service.client.wait_ready()
        answer = await client.chat.completions.create(model=MODEL, messages=HI, max_tokens=2)
        assert answer.choices[0].finish_reason == "length"
