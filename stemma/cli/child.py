"""A server of one's own: `stemma serve` as a child process, for as long as it is needed."""

import ctypes
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from stemma.core.base.errors import StemmaError
from stemma.core.config.env import API_KEY
from stemma.core.config.field import Value
from stemma.core.config.flags import flags_of

LOOK_SECONDS = 0.02  # between two looks whether it is ready
END_SECONDS = 10.0  # it has so long to end by itself
PR_SET_PDEATHSIG = 1  # of Linux's prctl


@contextmanager
def serving(options: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
    """Address and key of a server on this machine that nobody else can use. Raises StemmaError if it cannot start."""
    port, key = free_port(), secrets.token_hex()
    options = {"log_level": "warning", **options, "port": port}
    child = subprocess.Popen(
        [sys.executable, "-m", "stemma", "serve", *flags_of(options)],
        env=os.environ | {API_KEY: key},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C stops an answer, not the server
        preexec_fn=end_with_parent,  # noqa: PLW1509  # there are no other threads yet
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # so that the child is ended on the way out
    with answering(child, port, "the model could not be served; the lines above say why") as url:
        yield url, key


@contextmanager
def answering(child: subprocess.Popen[bytes], port: int, why: str) -> Iterator[str]:
    """Address of a child's server, once it is healthy; behind the block it is ended. Raises StemmaError if it ends
    before: `why`, which may name its status as {}."""
    try:
        while not is_ready(port):
            if child.poll() is not None:
                raise StemmaError(why.format(child.returncode))
            time.sleep(LOOK_SECONDS)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        try:
            child.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()


def end_with_parent() -> None:
    """Said by the child before it is a server: Linux shall end it when its parent is gone, even by SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
