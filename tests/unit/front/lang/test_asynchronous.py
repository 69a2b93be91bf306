"""Asynchronous programs: they read what others read, fail as others fail, and a thousand wait at once."""

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

import stemma as sgl
from stemma.front.lang.errors import BackendError, Misuse, ProgramError
from tests.unit.front.lang.fakes import FakeBackend

SECONDS = 20.0
T = TypeVar("T")


def soon(coroutine: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        return await asyncio.wait_for(coroutine, SECONDS)

    return asyncio.run(bounded())


def test_an_asynchronous_program_reads_what_another_reads() -> None:
    @sgl.function
    async def waits(s: Any, question: str) -> Any:
        s += sgl.user(question)
        s += sgl.assistant(sgl.gen("answer", max_tokens=7))
        s["read"] = await s["answer"] + "!"
        forks = await s.fork(2)
        forks += lambda index: f"{index}" + sgl.gen("tip")
        await forks.join()
        with s.var_scope("scope"):
            s += sgl.select("best", ["a", "b"])
        return await s["scope"], await s.get_meta_info("answer"), await s.messages(), await s.text(), await s.error()

    @sgl.function
    def blocks(s: Any, question: str) -> Any:
        s += sgl.user(question)
        s += sgl.assistant(sgl.gen("answer", max_tokens=7))
        s["read"] = s["answer"] + "!"
        forks = s.fork(2)
        forks += lambda index: f"{index}" + sgl.gen("tip")
        forks.join()
        with s.var_scope("scope"):
            s += sgl.select("best", ["a", "b"])
        return s["scope"], s.get_meta_info("answer"), s.messages(), s.text(), s.error()

    backends = [FakeBackend(lambda text: f"<{text[-2:]}>") for _ in range(2)]
    awaited = soon(waits.run("Why?", backend=backends[0], temperature=0.5))
    other = blocks.run("Why?", backend=backends[1], temperature=0.5)
    assert awaited.ret_value == other.ret_value and awaited.text() == other.text()
    assert awaited["tip"] == other["tip"] and awaited["read"] == other["read"]
    assert backends[0].cached == backends[1].cached
    assert sorted(map(repr, backends[0].asked)) == sorted(map(repr, backends[1].asked))


def test_a_thousand_programs_wait_at_once() -> None:
    count = 1000
    backend = FakeBackend(lambda text: text[-3:])
    backend.hold()

    @sgl.function
    async def program(s: Any, number: int) -> Any:
        s += f"{number:03}" + sgl.gen("x")
        first = await s["x"]
        s += "|" + sgl.gen("y")
        return first, await s["y"]

    async def everything() -> list[Any]:
        running = [asyncio.create_task(program.run(number, backend=backend)) for number in range(count)]
        while len(backend.asked) < count:  # every one has asked, and none has its answer
            await asyncio.sleep(0.01)
        assert not any(task.done() for task in running)
        backend.go()
        return [state.ret_value for state in await asyncio.gather(*running)]

    assert soon(everything()) == [(f"{number:03}", f"{number:03}"[1:] + "|") for number in range(count)]


def test_a_wait_holds_up_nobody() -> None:
    backend = FakeBackend()
    backend.hold()

    @sgl.function
    async def program(s: Any) -> None:
        s += "Q" + sgl.gen("x")
        await s["x"]

    async def both() -> None:
        task = asyncio.create_task(program.run(backend=backend))
        for _ in range(3):
            await asyncio.sleep(0.001)  # this thread is free
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        backend.go()

    soon(both())


def test_what_fails_is_told_with_its_line() -> None:
    def fail(text: str) -> str:
        raise BackendError("the engine is gone")

    @sgl.function
    async def program(s: Any, reads: str) -> None:
        s += "Q"
        s += sgl.gen("x")  # this line
        if reads == "variable":
            await s["x"]
        elif reads == "fork":
            await s.fork(2)

    line = program.func.__code__.co_firstlineno + 3
    for reads in ("variable", "fork"):
        with pytest.raises(ProgramError, match=re.escape(f"{__file__}:{line}: BackendError: the engine is gone")):
            soon(program.run(reads, backend=FakeBackend(fail)))
    state = soon(program.run("nothing", backend=FakeBackend(fail)))
    assert isinstance(state.error(), BackendError) and state.text() == "Q"


def test_a_variable_that_never_comes_is_an_error() -> None:
    @sgl.function
    async def program(s: Any) -> None:
        s += "Q" + sgl.gen("x")
        await s["absent"]

    with pytest.raises(KeyError, match="absent"):
        soon(program.run(backend=FakeBackend()))
    with pytest.raises(Misuse, match="named s"):
        sgl.function(no_program)


def test_with_brackets_too() -> None:
    @sgl.function(num_api_spec_tokens=16)
    async def program(s: Any) -> None:
        s += "Q" + sgl.gen("x")

    made: Any = program
    assert soon(made.run(backend=FakeBackend()))["x"] == "answer"


async def no_program(x: Any) -> None: ...
