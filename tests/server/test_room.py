"""What requests hold together is bounded: who comes too late is told to come again, and nobody else suffers."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncGenerator
from itertools import pairwise

import pytest
from starlette.types import Message

from stemma.core.base.errors import BadRequest, Busy
from stemma.front.dialect.body import decode
from stemma.front.dialect.bounds import ROW_BYTES
from stemma.front.dialect.native import GenerateBody
from stemma.front.server.endpoint import PIECE, pieces
from stemma.front.server.room import Room
from tests.server.harness import House, fake_engine, house, says

MiB = 1 << 20


def test_what_is_taken_comes_back() -> None:
    room = Room(100)
    with room.lend() as one:
        one(60)
        with pytest.raises(Busy, match=r"hold 90 B of the 100 B.*needs 50 B.*again later"), room.lend() as other:
            other(30)
            with pytest.raises(BadRequest, match=r"needs 110 B.*has 100 B for all.*fewer prompts"):
                other(80)
            assert room.held == 90
            other(50)
        assert room.held == 60
        one(40)
    assert room.held == 0


def test_the_largest_are_read_one_by_one_with_rests_between_them() -> None:
    async def main() -> None:
        room = Room(100)
        spans: list[tuple[float, float]] = []

        def work() -> None:
            began = time.monotonic()
            time.sleep(0.05)
            spans.append((began, time.monotonic()))
            raise Busy("no")

        done = await asyncio.gather(*(room.alone(work) for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in done] == ["no"] * 3
        assert all(after[0] - before[1] >= before[1] - before[0] for before, after in pairwise(spans))

    asyncio.run(main())


async def bodies(h: House, count: int, size: int, is_held: asyncio.Event) -> list[tuple[int, bytes]]:
    """Clients that send a body each, all but its last byte until they are told."""

    async def body() -> AsyncGenerator[bytes, None]:
        whole = json.dumps({"text": "a"}).encode().ljust(size)
        yield whole[:-1]
        await is_held.wait()
        yield whole[-1:]

    async def post() -> tuple[int, bytes]:
        answer = await h.http.post("/generate", content=body())
        return answer.status_code, answer.content + answer.headers.get("retry-after", "").encode()

    return await asyncio.gather(*(post() for _ in range(count)))


def test_bodies_that_do_not_come_to_an_end_leave_room_for_small_ones() -> None:
    async def main() -> None:
        async with house(max_held_bytes=4 * MiB) as h:
            is_held = asyncio.Event()
            sending = asyncio.create_task(bodies(h, 8, MiB, is_held))
            await asyncio.sleep(0.05)
            small = await h.post("/generate", {"text": "a"})
            large = await h.post("/generate", {"text": "a" * 2 * MiB})
            is_held.set()
            statuses = sorted(status for status, _ in await sending)
            assert small.status_code == 200
            assert (large.status_code, large.headers["retry-after"]) == (503, "1")
            assert "again later" in large.json()["error"]["message"]
            assert statuses == [200] * 4 + [503] * 4
            assert (await h.post("/generate", {"text": "a", "stream": True})).status_code == 200

    asyncio.run(main())


def test_requests_that_wait_are_bounded() -> None:
    async def main() -> None:
        engine = fake_engine(says("Hello"))
        engine.hold()
        async with house(engine, max_held_bytes=10 * ROW_BYTES) as h:
            body = {"prompt": "a", "n": 4, "max_tokens": 2}
            waiting = [asyncio.create_task(h.post("/v1/completions", body)) for _ in range(2)]
            while len(h.requests()) < 8:
                await asyncio.sleep(0.002)
            for path, more in (
                ("/v1/completions", body),
                ("/generate", {"text": ["a"] * 4}),
                ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "n": 4}),
            ):
                refused = await h.post(path, more)
                assert refused.status_code == 503 and "again later" in refused.text, path
            assert (await h.post("/generate", {"text": ["a"] * 11})).status_code == 400
            assert len(h.requests()) == 8
            engine.go()
            assert [(await task).status_code for task in waiting] == [200, 200]
            assert (await h.post("/generate", {"text": ["a"] * 9})).status_code == 200

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/generate", "/v1/completions"])
def test_log_probabilities_are_bounded_as_they_come(path: str) -> None:
    async def main() -> None:
        async with house(fake_engine(says("x" * 300)), max_held_bytes=MiB // 8) as h:
            body = {"text": "a", "prompt": "a", "max_tokens": 300, "sampling_params": {"max_new_tokens": 300}}
            assert (await h.post(path, body)).status_code == 200
            asking = {"return_logprob": True, "top_logprobs_num": 5, "logprobs": 5}
            refused = await h.post(path, body | asking)
            assert refused.status_code == 400 and "fewer prompts" in refused.text

    asyncio.run(main())


def test_a_large_answer_is_handed_over_in_pieces() -> None:
    whole: Message = {"type": "http.response.body", "body": b"ab" * PIECE, "more_body": False}
    parts = list(pieces(whole))
    assert b"".join(part["body"] for part in parts) == whole["body"]
    assert [part["more_body"] for part in parts] == [True, False]
    assert [part["more_body"] for part in pieces({**whole, "more_body": True})] == [True, True]
    start: Message = {"type": "http.response.start", "status": 200}
    assert list(pieces(start)) == [start]


def test_a_body_of_many_lists_is_read_before_garbage_is_looked_for() -> None:
    seen: list[str] = []

    def watch(phase: str, _: dict[str, int]) -> None:
        seen.append(phase)

    gc.callbacks.append(watch)
    try:
        kept = decode(b'{"input_ids":[' + b"[]," * 100_000 + b"[]]}", GenerateBody)
        assert seen.count("start") <= 1  # when all is read
        assert gc.isenabled()
    finally:
        gc.callbacks.remove(watch)
    assert kept.input_ids is not None and len(kept.input_ids) == 100_001
