"""Asynchronous programs: they read what others read, fail as others fail, and a thousand wait at once."""

import asyncio
import re
import threading
from typing import Any

import pytest

import stemma as sgl
from stemma.front.lang.crew import MOST_THREADS
from stemma.front.lang.errors import BackendError, Misuse, ProgramError
from tests.unit.front.lang.fakes import Endless, FakeBackend


async def test_an_asynchronous_program_reads_what_another_reads() -> None:
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
    awaited = await waits.run("Why?", backend=backends[0], temperature=0.5)
    other = blocks.run("Why?", backend=backends[1], temperature=0.5)
    assert awaited.ret_value == other.ret_value and awaited.text() == other.text()
    assert awaited["tip"] == other["tip"] and awaited["read"] == other["read"]
    assert backends[0].cached == backends[1].cached
    assert sorted(map(repr, backends[0].asked)) == sorted(map(repr, backends[1].asked))


async def test_a_thousand_programs_wait_at_once() -> None:
    count, before = 1000, threading.active_count()
    backend = FakeBackend(lambda text: text[-3:])
    backend.hold()

    @sgl.function
    async def program(s: Any, number: int) -> Any:
        s += f"{number:03}" + sgl.gen("x")
        first = await s["x"]
        s += "|" + sgl.gen("y")
        return first, await s["y"]

    running = [asyncio.create_task(program.run(number, backend=backend)) for number in range(count)]
    while len(backend.asked) < MOST_THREADS:  # as many as may have asked, and none has its answer
        await asyncio.sleep(0.01)
    assert len(asyncio.all_tasks()) > count and not any(task.done() for task in running)
    assert threading.active_count() <= before + MOST_THREADS
    backend.go()
    expected = [(f"{number:03}", f"{number:03}"[1:] + "|") for number in range(count)]
    assert [state.ret_value for state in await asyncio.gather(*running)] == expected


async def test_a_wait_holds_up_nobody() -> None:
    backend = FakeBackend()
    backend.hold()

    @sgl.function
    async def program(s: Any) -> None:
        s += "Q" + sgl.gen("x")
        await s["x"]

    task = asyncio.create_task(program.run(backend=backend))
    for _ in range(3):
        await asyncio.sleep(0.001)  # this thread is free
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    backend.go()


async def test_what_fails_is_told_with_its_line() -> None:
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
            await program.run(reads, backend=FakeBackend(fail))
    state = await program.run("nothing", backend=FakeBackend(fail))
    assert isinstance(state.error(), BackendError) and state.text() == "Q"


async def test_a_variable_that_never_comes_is_an_error() -> None:
    @sgl.function
    async def program(s: Any) -> None:
        s += "Q" + sgl.gen("x")
        await s["absent"]

    with pytest.raises(KeyError, match="absent"):
        await program.run(backend=FakeBackend())
    with pytest.raises(Misuse, match="named s"):
        sgl.function(no_program)


async def test_with_brackets_too() -> None:
    @sgl.function()
    async def program(s: Any) -> None:
        s += "Q" + sgl.gen("x")

    made: Any = program
    assert (await made.run(backend=FakeBackend()))["x"] == "answer"


@sgl.function
async def tells(s: Any, mark: str = "?") -> Any:
    s += "Few-shot examples, the same for every question, long enough to matter.\n"
    s += mark + sgl.gen("x")
    s += "|" + sgl.gen("y")
    return await s["y"]


PREFIX = "Few-shot examples, the same for every question, long enough to matter.\n"


@pytest.mark.parametrize("of_async", [False, True])
async def test_many_readers_share_a_thread(of_async: bool) -> None:
    """Of variables that come in turn, of the whole text, and twice of one; more than a pool of threads would have."""

    @sgl.function
    def blocks(s: Any, mark: str) -> None:
        s += PREFIX + mark + sgl.gen("x")
        s += "|" + sgl.gen("y")

    async def whole(state: Any, name: str | None) -> str:
        return "".join([text async for text in state.text_async_iter(name)])

    backend = FakeBackend(lambda text: "abc" if text.endswith("!") else "defg")
    backend.hold()
    run: Any = tells.run if of_async else blocks.run
    state = run("!", backend=backend, stream=True)
    state = await state if of_async else state
    names = [*"yx" * 30, None, "absent"]
    readers = [asyncio.create_task(whole(state, name)) for name in names]
    parts = asyncio.create_task(listed(state.text_async_iter("x", return_meta_data=True)))
    await asyncio.sleep(0.01)
    assert not any(reader.done() for reader in readers)
    backend.go()
    expected = {"x": "abc", "y": "defg", None: PREFIX + "!abc|defg", "absent": ""}
    assert await asyncio.gather(*readers) == [expected[name] for name in names]
    assert [token for _, meta in await parts for _, token, _ in meta["output_token_logprobs"]] == [*b"abc"]
    if of_async:
        assert (await state["y"], await state.text()) == ("defg", expected[None])
        with pytest.raises(KeyError):
            await state["absent"]


async def listed(parts: Any) -> list[Any]:
    return [part async for part in parts]


async def test_a_program_reads_its_own_stream() -> None:
    @sgl.function
    async def program(s: Any) -> Any:
        s += "Q" + sgl.gen("x")
        return [text async for text in s.text_async_iter("x")]

    state = await program.run(backend=FakeBackend(lambda text: "abc"), stream=True)
    assert "".join([text async for text in state.text_async_iter()]) == await state.text() == "Qabc"
    assert (await program.run(backend=FakeBackend(lambda text: "abc"))).ret_value == ["abc"]


async def test_a_stream_tells_what_its_program_raises() -> None:
    @sgl.function
    async def program(s: Any) -> None:
        s += "Q" + sgl.gen("x")
        await s["x"]
        raise LookupError("of the program")

    state = await program.run(backend=FakeBackend(lambda text: "abc"), stream=True)
    assert "".join([text async for text in state.text_async_iter("x")]) == "abc"
    with pytest.raises(ProgramError, match=r"LookupError: of the program"):
        async for _ in state.text_async_iter():
            pass
    assert isinstance(await state.error(), LookupError)


async def test_batches_of_asynchronous_programs() -> None:
    backend = FakeBackend(lambda text: text[-2:])
    marks = [str(at) for at in range(300)]

    states = await tells.run_batch([{"mark": mark} for mark in marks], backend=backend, num_threads=64)
    assert [state["x"] for state in states] == [(PREFIX + mark)[-2:] for mark in marks]
    assert backend.cached == [PREFIX]
    seen = [state async for state in tells.run_batch([("a",), ["b"], {}], backend=backend, generator_style=True)]
    assert [state["x"][-1] for state in seen] == ["a", "b", "?"]
    assert await tells.run_batch([], backend=backend) == []
    bound = tells.bind(mark="bound")
    assert (await bound.run_batch([{}, {}], backend=backend, progress_bar=True))[0]["x"] == "nd"
    assert backend.cached[-1] == PREFIX + "bound"
    with pytest.raises(Misuse, match="0 to 1 arguments"):
        tells.run_batch([("a", "b")], backend=backend)
    with pytest.raises(TypeError, match="no argument 'mark'"):
        tells.run_batch([("a",)], backend=backend, mark="b")


async def test_a_batch_runs_no_more_at_once_than_it_may_and_ends_with_its_first_error() -> None:
    running, most, ended = 0, 0, []

    @sgl.function
    async def program(s: Any, number: int) -> None:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        try:
            await asyncio.sleep(0)
            if number == 7:
                raise LookupError("the seventh")
            s += "Q" + sgl.gen("x")
            await s["x"]
        finally:
            running -= 1
            ended.append(number)

    with pytest.raises(LookupError, match="seventh"):
        await program.run_batch([(number,) for number in range(40)], backend=FakeBackend(), num_threads=3)
    assert most == 3 and running == 0


async def test_an_asynchronous_program_is_traced() -> None:
    @sgl.function
    async def program(s: Any, question: str) -> None:
        s += sgl.user("Constant. " + question)
        await tells("!")
        forks = await s.fork(2)
        forks += sgl.gen("x")
        await forks.join()
        s += "after" + (await s["x"])[0]

    backend = FakeBackend()

    await program.cache(backend)
    nodes = (await program.trace(backend=backend)).last_node.print_graph_dfs()
    assert backend.cached == ["USER:Constant. "] and not backend.asked
    assert re.search(r"RoleBegin.*\n.*Constant.*\n.*Argument.*\n(.*\n)*.*Fork.*\n(.*\n)*.*after", nodes)


@sgl.function
async def waits_for_branches(s: Any) -> None:
    s += "Q"
    forks = await s.fork(3)
    forks += sgl.gen("x")
    forks += sgl.gen("never")
    await forks.join()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cancelled_program_ends_its_requests_in_every_branch(stream: bool) -> None:
    backend = Endless()

    if stream:
        state = await waits_for_branches.run(backend=backend, stream=True)
    else:
        task = asyncio.create_task(waits_for_branches.run(backend=backend))
    while len(backend.running) < 3:
        await asyncio.sleep(0.001)
    if stream:
        await state.cancel()
        assert isinstance(await state.error(), asyncio.CancelledError)
    else:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not backend.running and len(backend.asked) == 3  # what came after is not asked


async def test_what_a_program_raises_ends_its_requests_too() -> None:
    backend = Endless()

    @sgl.function
    async def program(s: Any) -> None:
        s += "Q" + sgl.gen("x")
        while not backend.running:
            await asyncio.sleep(0.001)
        raise LookupError("of the program")

    with pytest.raises(LookupError):
        await program.run(backend=backend)
    assert not backend.running


async def no_program(x: Any) -> None: ...
