"""Whatever a program does and whatever fails: who reads gets an answer or an error, and soon."""

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

import stemma as sgl
from stemma.front.lang.errors import BackendError, ProgramError
from stemma.front.lang.program import SglFunction
from stemma.front.lang.state import ProgramState
from tests.unit.front.lang.fakes import Endless, FakeBackend

SECONDS = 20.0
NAMES = ("a", "b", "c", "never")


def within(seconds: float, work: Callable[[], None]) -> None:
    """Do it in a thread that may not take longer."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "a reader hangs"
    if failures:
        raise failures[0]


def random_program(draw: random.Random) -> SglFunction:
    def say(s: ProgramState, depth: int) -> None:
        for _ in range(draw.randrange(1, 5)):
            match draw.randrange(9 if depth < 2 else 7):
                case 0 | 1:
                    s += "text " + sgl.gen(draw.choice(NAMES[:3]))
                case 2:
                    s += sgl.select(draw.choice(NAMES[:3]), ["x", "y"])
                case 3:
                    s += sgl.user("u") + sgl.assistant(sgl.gen("b", n=2))
                case 4:
                    with s.var_scope("c"):
                        s += "scoped" + sgl.gen()
                case 5:
                    s["a"] = str(s["a"])
                case 6:
                    s += sgl.user_end() if draw.random() < 0.1 else "more"
                case _:
                    forks = s.fork(draw.randrange(1, 4))
                    for branch in forks:
                        say(branch, depth + 1)
                    forks.join(draw.choice(["gather_variable", "concate_and_append"]))

    return sgl.function(lambda s: say(s, 0))


def whole(state: ProgramState, name: str | None) -> str:
    return "".join(state.text_iter(name))


def read_all(state: ProgramState) -> None:
    readers: list[Callable[[], Any]] = [state.text, state.messages, state.error, partial(whole, state, None)]
    readers += [partial(state.get_var, name) for name in NAMES]
    readers += [partial(whole, state, name) for name in NAMES]
    for read in readers:
        with suppress(ProgramError, KeyError):
            read()


@pytest.mark.parametrize("stream", [False, True])
def test_random_programs_on_a_backend_that_fails_at_random(stream: bool) -> None:
    draw = random.Random(7)

    def script(text: str) -> str:
        if len(text) % 7 == 3:
            raise BackendError("at random")
        return "said" * (len(text) % 3)

    def many() -> None:
        ended = 0
        for _ in range(150):
            try:
                state = random_program(draw).run(backend=FakeBackend(script), stream=stream)
            except (ProgramError, KeyError):
                ended += 1
                continue
            read_all(state)
            ended += state.error() is None
        assert ended > 20

    within(SECONDS, many)


def test_no_task_hangs_on_a_backend_that_fails_at_random() -> None:
    """The same of asynchronous programs, read while they run by several tasks at once."""
    draw = random.Random(11)

    def script(text: str) -> str:
        if len(text) % 5 == 3:
            raise BackendError("at random")
        return "said" * (len(text) % 3)

    @sgl.function
    async def program(s: Any) -> None:
        for _ in range(draw.randrange(1, 4)):
            s += draw.choice(["text", "more of it"]) + sgl.gen(draw.choice(NAMES[:3]))
            if draw.random() < 0.5:
                await s[draw.choice(NAMES)]
            if draw.random() < 0.3:
                forks = await s.fork(2)
                forks += sgl.gen("c")
                await forks.join()

    async def told(state: Any, name: str | None) -> bool:
        with suppress(ProgramError):
            async for _ in state.text_async_iter(name):
                pass
            return True
        return False

    async def many() -> None:
        whole = []
        for _ in range(100):
            state = await program.run(backend=FakeBackend(script), stream=True)
            whole += await asyncio.gather(*(told(state, name) for name in (*NAMES, None)))
            for name in NAMES:
                with suppress(ProgramError, KeyError):
                    await state[name]
        assert 20 < sum(whole) < len(whole)

    asyncio.run(asyncio.wait_for(many(), SECONDS))


def test_many_readers_of_one_stream_see_the_same() -> None:
    backend = FakeBackend(lambda text: "abcdefgh")

    @sgl.function
    def program(s: Any) -> None:
        for name in "xyz":
            s += name + ":" + sgl.gen(name)

    def crowd() -> None:
        state = program.run(backend=backend, stream=True)
        seen: list[str] = []
        readers = [
            threading.Thread(target=lambda: seen.append("".join(state.text_iter())), daemon=True) for _ in range(8)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert seen == [state.text()] * 8

    within(SECONDS, crowd)


def test_a_scope_that_is_read_inside_itself_is_not_there() -> None:
    @sgl.function
    def program(s: Any) -> None:
        with s.var_scope("x"):
            s += "text"
            s["x"]

    def run() -> None:
        with pytest.raises(KeyError):
            program.run(backend=FakeBackend())

    within(SECONDS, run)


def test_a_program_that_exits_ends_its_stream() -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += "before"
        raise SystemExit(3)

    def run() -> None:
        with pytest.raises(ProgramError, match="SystemExit"):
            list(program.run(backend=FakeBackend(), stream=True).text_iter())

    within(SECONDS, run)


def test_no_thread_to_be_had_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    @sgl.function
    def program(s: Any) -> None:
        s += sgl.gen("x")

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        state = program.run(backend=FakeBackend())
    with pytest.raises(ProgramError, match="can't start new thread"):
        state["x"]


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_what_a_program_raises_ends_the_requests_of_its_branches(error: type[BaseException]) -> None:
    backend = Endless()

    @sgl.function
    def program(s: Any) -> None:
        forks = s.fork(3)
        forks += "Q" + sgl.gen("x")
        while len(backend.running) < 3:
            time.sleep(0.001)
        raise error("of the program")

    def run() -> None:
        with pytest.raises(error):
            program.run(backend=backend)
        assert not backend.running

    within(SECONDS, run)


@sgl.function
def one_of_many(s: Any, text: str) -> None:
    s += text + sgl.gen("x")
    s["x"]


def test_who_leaves_a_batch_waits_for_nothing() -> None:
    backend = Endless()

    def leave() -> None:
        batch = [*({"text": "ends!"} for _ in range(250)), *({"text": f"Q{at}"} for at in range(50))]
        states = one_of_many.run_batch(batch, backend=backend, num_threads=4, generator_style=True)
        for _ in range(60):  # the runs are 200 ahead of who reads: so many are begun that four do not end
            assert next(states)["x"] == "cut"
        while len(backend.running) < 4:
            time.sleep(0.001)
        states.close()
        assert not backend.running and len(backend.aborted) == 4

    within(SECONDS, leave)


def test_an_interrupt_ends_a_batch() -> None:
    """Ctrl-C reaches the thread that waits for all others."""
    backend = Endless()

    def interrupt() -> None:
        while len(backend.running) < 4:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        one_of_many.run_batch([(f"Q{at}",) for at in range(50)], backend=backend, num_threads=4)
    assert not backend.running and len(backend.asked) == 4
