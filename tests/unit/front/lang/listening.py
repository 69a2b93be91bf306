"""A server that keeps what it is asked and answers what a test says: for clients whose API is not ours."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Events:
    """The answer is a stream."""

    events: Sequence[tuple[str, Json]]  # their names, or "", and what they tell


@dataclass(frozen=True)
class Refusal:
    """The answer is no."""

    body: Json
    status: int = 400


class Listening:
    """`asked` are the requests so far: path, headers, body."""

    def __init__(self, answer: Callable[[str, Json], Any]):
        self.answer = answer
        self.asked: list[tuple[str, dict[str, str], Json]] = []
        self.url = ""

    def body(self) -> Json:
        """Of the only request."""
        ((_, _, body),) = self.asked
        return body


@contextmanager
def listening(answer: Callable[[str, Json], Any]) -> Iterator[Listening]:
    found = Listening(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve({})

        def do_POST(self) -> None:
            self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}"))

        def _serve(self, body: Json) -> None:
            found.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            answer = found.answer(self.path, body)
            match answer:
                case Events(events):
                    lines = [f"event: {name}\ndata: {json.dumps(event)}\n\n" for name, event in events]
                    self._send(200, "text/event-stream", "".join(lines) + "data: [DONE]\n\n")
                case Refusal(body, status):
                    self._send(status, "application/json", json.dumps(body))
                case _:
                    self._send(200, "application/json", json.dumps(answer))

        def _send(self, status: int, kind: str, content: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content.encode())))
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
