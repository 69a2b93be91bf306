"""Clients that say nothing, say it slowly, do not read, or are too many."""

import asyncio
import resource
import socket
import time

import httpx
import pytest

from stemma.front.server import connection
from tests.server.harness import fake_engine, house, on_a_port, says

GET = b"GET /health HTTP/1.1\r\nhost: x\r\n"


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = address.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


@pytest.mark.parametrize("said", [b"", GET, GET + b"\r\n" + GET, b"GET /none HTTP/1.1\r\nhost: x\r\n\r\nGET /"])
def test_a_head_that_does_not_come_is_not_waited_for(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)

    async def main() -> None:
        async with house() as h, on_a_port(h.app) as address, asyncio.timeout(10):
            reader, writer = await connect(address)
            writer.write(said)
            answer = await reader.read()  # to its end: the connection is closed
            writer.close()
        first, _, last = answer.rpartition(b"HTTP/1.1 ")
        assert last.startswith(b"408 ") and b"within 0.2 seconds" in last
        assert first.count(b"HTTP/1.1 ") == said.count(b"\r\n\r\n")

    asyncio.run(main())


def test_a_head_that_trickles_has_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)

    async def main() -> None:
        async with house() as h, on_a_port(h.app) as address, asyncio.timeout(10):
            reader, writer = await connect(address)
            writer.write(GET)
            answering = asyncio.create_task(reader.read())
            while not answering.done():
                writer.write(b"a: b\r\n")
                await asyncio.sleep(0.02)
            assert answering.result().startswith(b"HTTP/1.1 408 ")
            writer.close()

    asyncio.run(main())


def test_an_answer_may_take_longer_than_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.1)

    async def main() -> None:
        engine = fake_engine(says("Hello"), seconds_per_chunk=0.1)
        async with house(engine) as h, on_a_port(h.app) as address, httpx.AsyncClient(base_url=address) as client:
            began = time.monotonic()
            for _ in range(2):
                answer = await client.post("/generate", json={"text": "a"})
                assert (answer.status_code, answer.json()["text"]) == (200, "Hello")
            assert time.monotonic() - began > 0.2

    asyncio.run(main())


def test_a_client_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STALL_SECONDS", 0.2)

    async def main() -> None:
        async with house(fake_engine(says("x" * 400, ends=False))) as h, on_a_port(h.app) as address:
            host, port = address.removeprefix("http://").split(":")
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect((host, int(port)))
                # Each event tells the whole so far, and an id that is long.
                body = (
                    b'{"text": "a", "rid": "%s", "stream": true, "sampling_params": {"n": 128, "max_new_tokens": 400}}'
                )
                body %= b"i" * 200
                head = f"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
                client.sendall(head.encode() + body)
                async with asyncio.timeout(20):
                    while not h.requests() or 'status_code="200"' not in await metrics(address):
                        await asyncio.sleep(0.02)
            assert h.service.client.ids() == []

    asyncio.run(main())


async def metrics(address: str) -> str:
    async with httpx.AsyncClient(base_url=address) as client:
        page = (await client.get("/metrics")).text
    return "\n".join(line for line in page.splitlines() if 'endpoint="/generate"' in line)


def test_one_connection_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 2)

    async def main() -> None:
        async with house() as h, on_a_port(h.app) as address, asyncio.timeout(10):
            held = [await connect(address) for _ in range(2)]
            reader, writer = await connect(address)
            refused = await reader.read()
            assert refused.startswith(b"HTTP/1.1 503 ") and b"retry-after" in refused
            assert b"2 connections" in refused
            held[0][1].write(GET + b"connection: close\r\n\r\n")  # who is in is served
            assert (await held[0][0].read()).startswith(b"HTTP/1.1 200 ")
            async with httpx.AsyncClient(base_url=address) as client:  # and leaves room for the next
                assert (await client.get("/health")).status_code == 200
            for _, each in [*held, (reader, writer)]:
                each.close()

    asyncio.run(main())


def test_where_files_are_few_connections_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, most in ((1024, 1024 - connection.SPARE_FILES), (1 << 20, connection.MAX_CONNECTIONS), (64, 1)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert connection.most_connections() == most
