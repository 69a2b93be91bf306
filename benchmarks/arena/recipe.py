"""Starts an engine by its recipe: `recipes/NAME.sh serve FOLDER MODEL PORT` runs it in the foreground."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stemma.bench.door import meet
from stemma.bench.load import Load, put
from stemma.bench.timeline import Timeline
from stemma.bench.workload import ONE, Span
from stemma.cli.child import free_port
from stemma.core.base.errors import StemmaError, UnknownName

RECIPES = Path(__file__).parent / "recipes"
START_SECONDS = 300.0
END_SECONDS = 20.0
LOOK_SECONDS = 0.05


@contextmanager
def cooked(name: str, peers: Path, model: str) -> Iterator[tuple[str, float]]:
    """Address of an engine, and the seconds until its first token. It ends with the context."""
    script = RECIPES / f"{name}.sh"
    if not script.is_file():
        raise UnknownName("recipe", name, [path.stem for path in RECIPES.glob("*.sh")])
    port, began = free_port(), time.monotonic()
    command = ["bash", str(script), "serve", str((peers / name).absolute()), str(Path(model).absolute()), str(port)]
    # A group of its own: a server may have children, which must end with it.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, process_group=0)
    try:
        url = f"http://127.0.0.1:{port}"
        while not answers(url):
            if process.poll() is not None:
                raise StemmaError(f"{name} ended with status {process.returncode}; the lines above say why")
            if time.monotonic() - began > START_SECONDS:
                raise StemmaError(f"{name} was not ready after {START_SECONDS:.0f} s")
            time.sleep(LOOK_SECONDS)
        yield url, time.monotonic() - began
    finally:
        end(process)


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


def end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
