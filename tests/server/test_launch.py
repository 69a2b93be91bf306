"""The port, and what becomes of a server whose engine ends."""

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import msgspec
import pytest

from stemma.core.base.errors import ConfigError
from stemma.core.config.serve import ServeConfig
from stemma.core.types.control import FromEngine
from stemma.front.server import launch
from stemma.front.server.listen import listen
from stemma.front.service.client import EngineClient
from stemma.front.service.service import Service
from stemma.front.service.watch import REFUSED, EngineProcess, describe
from tests.fake_engine import FakeEngine
from tests.server.harness import TOKENIZER, engine_config

real_sleep = asyncio.sleep


def on(host: str, port: int) -> ServeConfig:
    return ServeConfig(model_path="m", tokenizer_path="m", served_model_name="m", host=host, port=port)


def test_a_port_in_use_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}.*in use.*--port"):
            listen(on("127.0.0.1", port))
    with listen(on("127.0.0.1", port)) as door:
        assert door.getsockname()[1] == port
    with pytest.raises(ConfigError, match="cannot listen on no-such-host"):
        listen(on("no-such-host.invalid", port))


def test_a_short_answer_does_not_wait_for_the_client() -> None:
    with listen(on("127.0.0.1", 0)) as door, socket.create_connection(door.getsockname()):
        accepted, _ = door.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("status", "says"), [(3, "exit status 3"), (-9, "killed by SIGKILL"), (-99, "killed by signal 99")]
)
def test_how_it_ended(status: int, says: str) -> None:
    assert describe(status) == says


def test_as_many_clients_as_the_system_grants() -> None:
    code = """if True:
        import resource
        from stemma.front.server.launch import open_more_files
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
        open_more_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


class Garbled(FakeEngine):
    """What it says does not decode."""

    async def receive(self) -> FromEngine:
        raise msgspec.DecodeError("no such message")


class Unending(EngineProcess):
    def __init__(self) -> None:
        self.address = "nowhere"

    async def ended(self) -> int:
        await asyncio.Event().wait()
        return 0


def test_a_server_that_cannot_hear_its_engine_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(*_: object) -> Service:
        return Service(TOKENIZER, None, EngineClient(Garbled()))

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as door:
            async with asyncio.timeout(10):
                await launch.run_beside(Unending(), door, engine_config(), on("127.0.0.1", 1))

    monkeypatch.setattr(launch, "connect", deaf)
    monkeypatch.setattr(launch, "UnixFrontChannel", lambda _: None)
    with pytest.raises(msgspec.DecodeError):
        asyncio.run(main())


class Scripted(EngineProcess):
    """Engines that become ready, or not, and then end with these statuses."""

    def __init__(self, engine: FakeEngine, statuses: list[int], become_ready: bool = True):
        self.engine = engine
        self.statuses: Iterator[int] = iter(statuses)
        self.become_ready = become_ready
        self.starts = 1

    async def ended(self) -> int:
        for _ in range(20):
            await real_sleep(0)
        self.engine.die()
        return next(self.statuses)

    def restart(self) -> None:
        self.starts += 1
        if self.become_ready:
            self.engine.revive()


def watch(process: Scripted, monkeypatch: pytest.MonkeyPatch, is_ready: bool = True) -> tuple[int, list[float]]:
    """What the watch returns, and how long it paused between engines."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await real_sleep(0)

    async def main() -> int:
        client = EngineClient(process.engine)
        running = asyncio.create_task(client.run())
        if is_ready:
            await client.wait_ready()
        else:
            process.engine.die()
        monkeypatch.setattr(asyncio, "sleep", sleep)
        try:
            return await launch.watch(process, client)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    return asyncio.run(main()), pauses


def test_an_engine_that_keeps_dying_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    process = Scripted(FakeEngine(), [-9] * 9)
    status, pauses = watch(process, monkeypatch)
    assert status == 1
    assert pauses == [1, 2, 4, 8, 16]
    assert process.starts == 6
    assert "6 times within 60 s" in caplog.text


def test_an_engine_that_refuses_its_model_has_said_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    process = Scripted(FakeEngine(), [REFUSED])
    assert watch(process, monkeypatch, is_ready=False) == (1, [])
    assert caplog.text == ""


def test_an_engine_that_dies_while_it_starts_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    process = Scripted(FakeEngine(), [-9])
    assert watch(process, monkeypatch, is_ready=False) == (1, [])
    assert "killed by SIGKILL" in caplog.text


def test_a_restarted_engine_that_refuses_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Scripted(FakeEngine(), [-11, REFUSED], become_ready=False)
    assert watch(process, monkeypatch) == (1, [1])
