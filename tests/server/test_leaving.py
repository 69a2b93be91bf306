"""A client that leaves takes its work with it: at once, streaming or not."""

import asyncio
import json

import httpx
import pytest
from starlette.types import Message

from stemma.core.types.request import Abort
from stemma.front.server import endpoint
from tests.server.harness import House, Json, events, fake_engine, house, on_a_port, says

CASES: list[tuple[str, Json, int]] = [
    ("/generate", {"text": "a"}, 1),
    ("/generate", {"text": ["a", "b"], "sampling_params": {"n": 2}}, 4),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "n": 2}, 2),
    ("/v1/completions", {"prompt": ["a", "b", "c"]}, 3),
]


async def until_idle(h: House, works: int) -> None:
    async with asyncio.timeout(2):
        while h.engine.running or h.service.client.ids():
            await asyncio.sleep(0.005)
    left = [message for message in h.engine.sent if isinstance(message, Abort)]
    assert len(left) >= works
    assert {message.reason for message in left} == {"left"}


@pytest.mark.parametrize(("path", "body", "works"), CASES)
@pytest.mark.parametrize("chunks_seen", [-1, 0, 2])  # not a stream; a stream before its first chunk; amid
async def test_leaving(path: str, body: Json, works: int, chunks_seen: int) -> None:
    engine = fake_engine(seconds_per_chunk=0.02)
    if chunks_seen == 0:
        engine.hold()
    async with house(engine) as h, on_a_port(h.app) as address:
        host, port = address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        content = json.dumps(body | {"stream": chunks_seen >= 0}).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(content)}"
        writer.write(f"{head}\r\n\r\n".encode() + content)
        async with asyncio.timeout(5):
            while len(engine.running) < works:
                await asyncio.sleep(0.002)
            for _ in range(chunks_seen):
                await reader.readuntil(b"data: ")
        writer.close()
        await until_idle(h, works)
        async with httpx.AsyncClient(base_url=address) as other:
            assert (await other.get("/health")).status_code == 200
            page = (await other.get("/metrics")).text
        assert f'status_code="{499 if chunks_seen <= 0 else 200}"' in page


async def test_leaving_amid_the_body() -> None:
    async with house() as h, on_a_port(h.app) as address:
        host, port = address.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()
        async with httpx.AsyncClient(base_url=address) as other:
            async with asyncio.timeout(2):
                while 'status_code="499"' not in (await other.get("/metrics")).text:
                    await asyncio.sleep(0.005)
        assert h.requests() == []


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "BODY_SECONDS", 0.05)

    async with house() as h, on_a_port(h.app) as address, asyncio.timeout(5):
        host, port = address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        answer = await reader.read()  # to its end: the connection is closed
        writer.close()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"did not arrive" in answer


async def test_a_hundred_megabytes_over_a_socket() -> None:
    async with (
        house() as h,
        on_a_port(h.app) as address,
        httpx.AsyncClient(base_url=address, timeout=30) as client,
    ):
        response = await client.post("/generate", content=b" " * 100_000_000)
        assert response.status_code == 413
        assert "33554432" in response.json()["error"]["message"]
        assert (await client.post("/generate", json={"text": "a"})).status_code == 200


@pytest.mark.parametrize("prompts", [1, 3])
async def test_a_client_that_reads_slowly_gets_larger_chunks(prompts: int) -> None:
    engine = fake_engine(says("x" * 300))
    async with house(engine, incremental_streaming=True) as h:
        body: Json = {"text": ["a"] * prompts, "sampling_params": {"max_new_tokens": 400}, "stream": True}
        inbox: asyncio.Queue[Json] = asyncio.Queue()
        inbox.put_nowait({"type": "http.request", "body": json.dumps(body).encode()})
        reads, sent = asyncio.Event(), list[bytes]()

        async def send(message: Message) -> None:
            sent.append(message.get("body", b""))
            if len(sent) > 2:
                await reads.wait()

        scope = {"type": "http", "method": "POST", "path": "/generate", "headers": [], "query_string": b""}
        serving = asyncio.create_task(h.app(scope, inbox.get, send))
        async with asyncio.timeout(10):
            while not h.requests() or engine.running:
                await asyncio.sleep(0.001)
            reads.set()
            await serving
        chunks = events(b"".join(sent).decode())
        assert len(chunks) < 20
        for index in range(prompts):
            assert "".join(chunk["text"] for chunk in chunks if chunk["index"] == index) == "x" * 300
