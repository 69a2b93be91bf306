"""Connections are taken again, never by two at once, and never when the other side has gone."""

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stemma.front.lang.backends.connections import Connections
from stemma.front.lang.errors import Misuse

Sockets = list[socket.socket]
ENOUGH = 1 << 22  # bytes that no buffer between two processes takes


@contextmanager
def serving() -> Iterator[tuple[str, Sockets, list[str]]]:
    """A server that echoes what it is asked for: its address, all connections that were made, all that was asked."""
    opened: Sockets = []
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            opened.append(self.connection)

        def do_GET(self) -> None:
            asked.append(self.path)
            content = b"x" * ENOUGH if self.path == "/long" else self.path.encode()
            self.send_response(404 if self.path == "/missing" else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                asked.append("hung up")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", opened, asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def read(connections: Connections, path: str) -> bytes:
    with connections.answer(path, None, {}) as response:
        return response.read()


def test_one_connection_serves_what_comes_one_after_another() -> None:
    with serving() as (url, opened, _):
        connections = Connections(url, None)
        assert [read(connections, f"/{at}") for at in range(5)] == [f"/{at}".encode() for at in range(5)]
        assert read(connections, "/missing") and len(opened) == 1
        with connections.answer("/held", None, {}) as held:
            assert read(connections, "/beside") == b"/beside"  # the first one is still being read
            assert held.read() == b"/held"
        assert len(opened) == 2


def test_one_that_the_server_has_closed_is_not_missed() -> None:
    with serving() as (url, opened, _):
        connections = Connections(url, None)
        with connections.answer("/a", None, {}) as first, connections.answer("/b", None, {}) as second:
            first.read(), second.read()
        for each in opened:
            each.shutdown(socket.SHUT_RDWR)
        assert read(connections, "/again") == b"/again" and len(opened) == 3


def test_nobody_waits_for_an_answer_that_is_left() -> None:
    with serving() as (url, opened, asked):
        connections = Connections(url, None)
        with connections.answer("/long", None, {}) as response:
            assert response.read(1) == b"x"
        assert read(connections, "/next") == b"/next" and len(opened) == 2
        assert asked[:1] == ["/long"] and set(asked[1:]) <= {"hung up", "/next"}


def test_another_process_opens_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as (url, opened, _):
        connections = Connections(url, None)
        read(connections, "/parent")
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert read(connections, "/child") == b"/child" and len(opened) == 2


def test_a_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    with serving() as (url, _, _):
        monkeypatch.setenv("http_proxy", url)
        assert read(Connections("http://far.invalid:1/v", None), "/x") == b"http://far.invalid:1/v/x"
        monkeypatch.setenv("https_proxy", url)
        with pytest.raises(OSError, match="501"):  # this one makes no tunnels
            read(Connections("https://far.invalid", None), "/x")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert read(Connections(url, None), "/straight") == b"/straight"


def test_what_is_no_address_and_whom_to_trust() -> None:
    for wrong in ("localhost:30000", "", "ftp://x"):
        with pytest.raises(Misuse, match="address of a server"):
            Connections(wrong, None)
    with serving() as (url, _, _), pytest.raises(ssl.SSLError):
        read(Connections(url.replace("http", "https"), False), "/x")
    with pytest.raises(FileNotFoundError):
        Connections("https://x", "no-such-file")
