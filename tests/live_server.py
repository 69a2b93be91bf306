"""`stemma serve` as a user starts it: a process of its own, spoken to over its port."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

START_SECONDS = 60.0


class LiveServer:
    """A running server and what a test may want to know of it."""

    def __init__(self, process: "subprocess.Popen[str]", port: int, log: Path):
        self.process = process
        self.port = port
        self.log = log
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the server ended:\n{self.log.read_text()}"
            try:
                if self.http.get("/health").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"not ready after {START_SECONDS} s:\n{self.log.read_text()}")

    def engine(self) -> psutil.Process:
        """The process that computes."""
        (child,) = [
            child
            for child in psutil.Process(self.process.pid).children()
            if "stemma.engine.process" in " ".join(child.cmdline())
        ]
        return child

    def generate(self, text: str, **sampling: object) -> dict[str, object]:
        answer = self.http.post("/generate", json={"text": text, "sampling_params": sampling})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def gauge(self, name: str) -> float:
        """A value of /metrics."""
        for line in self.http.get("/metrics").text.splitlines():
            if line.startswith((f"sglang:{name}{{", f"sglang:{name} ")):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"no metric {name}")

    def wait_until_idle(self, seconds: float = 10.0) -> None:
        """Nothing runs, nothing waits, and every page is free or cached."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.gauge("num_running_reqs") == 0 and self.gauge("num_queue_reqs") == 0:
                break
            time.sleep(0.02)
        assert self.gauge("num_running_reqs") == 0
        assert self.gauge("kv_available_tokens") + self.gauge("kv_evictable_tokens") == self.gauge(
            "max_total_num_tokens"
        )


def events(lines: Iterator[str]) -> Iterator[dict[str, object]]:
    """The JSON of a stream's events, up to [DONE]."""
    for line in lines:
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line[6:])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def live_server(model: Path | None, log: Path, *options: str) -> Iterator[LiveServer]:
    """Start a server and end it with SIGTERM, which must leave nothing behind."""
    port = free_port()
    arguments = [sys.executable, "-m", "stemma", "serve", *([str(model)] if model else []), "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*arguments, *options],
            stdout=output,
            stderr=output,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "2"},
        )
    server = LiveServer(process, port, log)
    try:
        server.wait_ready()
        yield server
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        finally:
            process.kill()
            server.http.close()
        _, alive = psutil.wait_procs(children, timeout=5)
        assert not alive, f"left behind: {alive}"
