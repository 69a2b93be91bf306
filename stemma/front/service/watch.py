"""The engine's process: started, watched, ended. Imports little, so that it starts before its front is complete."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Self

import msgspec

from stemma.core.base.errors import Bug
from stemma.core.config.engine import EngineConfig
from stemma.core.wire.unix import new_address

REFUSED = 3  # exit status: the model cannot be served, and the engine has said why
END_SECONDS = 2.0  # so long it has to end by itself
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive"}  # torch's threads, if they spun, would take our kernels' time


class EngineProcess:
    """One engine after another, at one address. The next is started when the last has ended.

    It gets its EngineConfig as a line on its standard input and ends when that closes: it never
    outlives this process. It has a process group of its own, so that Ctrl-C reaches the front alone.
    """

    def __init__(self, config: EngineConfig):
        self.address = new_address()
        self._config = config
        self._child = self._start()

    def restart(self) -> None:
        self._child = self._start()

    async def ended(self) -> int:
        """Wait for its end, which is its exit status: negative is the signal that killed it."""
        return await asyncio.to_thread(self._child.wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """End it, by force if need be. May be said again."""
        input_of(self._child).close()
        self._child.terminate()
        try:
            self._child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        shutil.rmtree(Path(self.address).parent, ignore_errors=True)

    def _start(self) -> "subprocess.Popen[bytes]":
        child = subprocess.Popen(
            [sys.executable, "-m", "stemma.engine.process", "--address", self.address],
            env=ENVIRONMENT | os.environ,
            stdin=subprocess.PIPE,
            process_group=0,
        )
        line = msgspec.json.encode(self._config) + b"\n"
        try:
            input_of(child).write(line)
            input_of(child).flush()
        except BrokenPipeError:
            pass  # it has ended already; whoever waits for it will say so
        return child


def input_of(child: "subprocess.Popen[bytes]") -> IO[bytes]:
    if child.stdin is None:
        raise Bug("the engine was started without a pipe")
    return child.stdin


def describe(status: int) -> str:
    """`-9` is `'killed by SIGKILL'`."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
