"""Starts an engine by its recipe: `recipes/NAME.sh serve FOLDER MODEL PORT` runs it in the foreground.

Before, and not on the clock, `prepare` with the same words makes of the model what the engine wants to read.
"""

import asyncio
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from benchmarks.arena.lineup import Contender
from stemma.bench.door import meet
from stemma.bench.load import Load, put
from stemma.bench.timeline import Timeline
from stemma.bench.workload import ONE, Span
from stemma.cli.child import free_port
from stemma.core.base.errors import StemmaError, UnknownName

RECIPES = Path(__file__).parent / "recipes"
BORROWERS = ("stemma", "transformers")  # recipes that can use the interpreter that ARENA_PYTHON names
START_SECONDS = 300.0
END_SECONDS = 20.0
LOOK_SECONDS = 0.05


@dataclass(slots=True)
class Engine:
    """An engine that answers. Owned by the contest; one without a process ran before it."""

    url: str
    ready_seconds: float | None = None  # until its first token
    process: "subprocess.Popen[bytes] | None" = None

    def signal(self, number: signal.Signals) -> None:
        """To all of its processes."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def resident_bytes(self) -> int | None:
        """Of all its processes; a page that several have mapped counts once."""
        if self.process is None:
            return None
        return sum(each.memory_full_info().pss for each in self._tree(self.process.pid))

    def others_seconds(self) -> float | None:
        """Processor time that all but this engine and we ourselves have taken so far, other machines included."""
        if self.process is None:
            return None
        mine = [*self._tree(self.process.pid), psutil.Process()]
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - times.iowait - times.guest - times.guest_nice
        return float(busy - sum(each.cpu_times().user + each.cpu_times().system for each in mine))

    @staticmethod
    def _tree(pid: int) -> list[psutil.Process]:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]

    def end(self) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if self.process is not None:
            try:
                self.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.process.wait()


def is_installed(contender: Contender, peers: Path) -> bool:
    is_borrowed = contender.recipe in BORROWERS and "ARENA_PYTHON" in os.environ
    return bool(contender.url) or is_borrowed or (peers / contender.recipe).is_dir()


def started(contender: Contender, peers: Path, model: Path) -> Engine:
    """Raises StemmaError when it does not answer. What it says is in a file beside its environment."""
    if contender.url:
        return Engine(contender.url)
    peers.mkdir(parents=True, exist_ok=True)
    heard = peers / f"{contender.name}.log"
    with heard.open("wb") as log:
        if status := run(contender, "prepare", peers, model, 0, log).wait():
            raise StemmaError(f"{contender.name} could not prepare the model: status {status}; {heard} says why")
        port, began = free_port(), time.monotonic()
        process = run(contender, "serve", peers, model, port, log)
    engine = Engine(f"http://127.0.0.1:{port}", process=process)
    try:
        while not answers(engine.url):
            if process.poll() is not None:
                raise StemmaError(f"{contender.name} ended with status {process.returncode}; {heard} says why")
            if time.monotonic() - began > START_SECONDS:
                raise StemmaError(f"{contender.name} was not ready after {START_SECONDS:.0f} s; {heard} says why")
            time.sleep(LOOK_SECONDS)
    except BaseException:
        engine.end()
        raise
    engine.ready_seconds = time.monotonic() - began
    return engine


def run(
    contender: Contender, command: str, peers: Path, model: Path, port: int, log: IO[bytes]
) -> "subprocess.Popen[bytes]":
    script = RECIPES / f"{contender.recipe}.sh"
    if not script.is_file():
        raise UnknownName("recipe", contender.recipe, [path.stem for path in RECIPES.glob("*.sh")])
    folder = (peers / contender.recipe).absolute()
    return subprocess.Popen(
        ["bash", str(script), command, str(folder), str(model.absolute()), str(port)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=os.environ | contender.settings,
        process_group=0,  # a server may have children, which must stop and end with it
    )


def answers(url: str) -> bool:
    """Whether a token comes back: some servers listen long before."""
    timelines: list[Timeline] = []

    load = Load(workload=ONE, warmups=0, token_ids=Span(1, 1))  # an id that every model has

    async def ask() -> None:
        await put(await meet(url, wanted="openai"), load, timelines, lambda timeline: None)

    try:
        asyncio.run(ask())
    except StemmaError:
        return False
    return timelines[0].is_done
