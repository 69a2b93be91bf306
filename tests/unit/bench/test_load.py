"""The client against made-up servers: what it sends, what it reads, and what it says when they fail."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stemma.bench.door import Server, meet
from stemma.bench.http import address_of
from stemma.bench.load import Load, put
from stemma.bench.timeline import Timeline
from stemma.bench.workload import Span, Workload
from stemma.cli.main import main
from stemma.core.base.errors import BadRequest, ConfigError, EngineDead, StemmaError

Respond = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]
MODELS: Mapping[str, object] = {"/v1/models": {"data": [{"id": "some-model"}]}}
FEW = Workload(requests=4, input_tokens=Span(3, 5), output_tokens=Span(4, 4))


def event(content: object) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def chunked(handler: BaseHTTPRequestHandler, parts: list[bytes], has_end: bool = True) -> None:
    """An answer in the pieces given, however they cut its lines."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for part in parts:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
    if has_end:
        handler.wfile.write(b"0\r\n\r\n")


def whole(handler: BaseHTTPRequestHandler, status: int, content: object) -> None:
    body = json.dumps(content).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def completion(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    """One token per event, as a server does that knows no running usage; the bill comes last."""
    parts = [event({"choices": [{"text": "a"}]}) for _ in range(body["max_tokens"])]
    bill = event({"choices": [], "usage": {"completion_tokens": body["max_tokens"], "prompt_tokens_details": None}})
    stream = b": hello\n\n" + b"".join(parts) + bill + b"data: [DONE]\n\n"
    chunked(handler, [stream[at : at + 11] for at in range(0, len(stream), 11)])


@contextmanager
def serving(respond: Respond, routes: Mapping[str, object] = MODELS) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server; yields its address, and the bodies that it gets."""
    heard: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if found := {**MODELS, **routes}.get(self.path):
                whole(self, 200, found)
            else:
                whole(self, 404, {"detail": "Not Found"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            heard.append({"path": self.path, "key": self.headers["Authorization"]} | body)
            self.close_connection = True
            with suppress(ConnectionError):
                respond(self, body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(url: str, load: Load, key: str | None = None) -> tuple[Server, list[Timeline]]:
    timelines: list[Timeline] = []
    seen: list[Timeline] = []

    async def go() -> Server:
        server = await meet(url, key)
        await put(server, load, timelines, seen.append)
        return server

    server = asyncio.run(go())
    assert len(seen) == len(timelines)
    return server, timelines


def test_the_openai_door() -> None:
    with serving(completion) as (url, heard):
        server, timelines = run(url, Load(workload=FEW), "secret")
    assert (server.door.name, server.vocabulary) == ("openai", None)
    assert [each.output_tokens for each in timelines] == [4] * 4
    assert all(each.is_done and each.text == "aaaa" and len(each.pieces) == 4 for each in timelines)
    assert all(each.sent < each.pieces[0].at <= each.ended for each in timelines)
    warm, *asked = heard
    assert sorted(len(body["prompt"]) for body in asked) == sorted(each.input_tokens for each in timelines)
    assert warm["prompt"] not in [body["prompt"] for body in asked]
    body = asked[0]
    assert (body["path"], body["key"], body["model"]) == ("/v1/completions", "Bearer secret", "some-model")
    assert (body["temperature"], body["ignore_eos"], body["stream"]) == (0, True, True)


def test_running_usage_tells_how_many_tokens_a_piece_has() -> None:
    def respond(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        usage = {"prompt_tokens_details": {"cached_tokens": 2}}
        parts = [
            event({"choices": [{"text": text}], "usage": usage | {"completion_tokens": tokens}})
            for text, tokens in (("a", 1), ("", 2), ("bcd", 4))
        ]
        chunked(handler, [*parts, b"data: [DONE]\n\n"])

    with serving(respond) as (url, _):
        _, timelines = run(url, Load(workload=FEW, warmups=0))
    assert [[piece.tokens for piece in each.pieces] for each in timelines] == [[1, 4]] * 4
    assert {each.cached_tokens for each in timelines} == {2}


@pytest.mark.parametrize("is_incremental", [False, True])
def test_the_native_door(is_incremental: bool) -> None:
    def respond(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        about = {"finish_reason": None, "cached_tokens": 1}
        parts = [
            event({"text": "ab" * (1 if is_incremental else count), "meta_info": about | {"completion_tokens": count}})
            for count in range(1, body["sampling_params"]["max_new_tokens"] + 1)
        ]
        chunked(handler, [*parts, b"data: [DONE]\n\n"])

    routes = {"/model_info": {"vocab_size": 1000}, "/server_info": {"incremental_streaming": is_incremental}}
    with serving(respond, routes) as (url, heard):
        server, timelines = run(url, Load(workload=FEW, warmups=0))
        assert (server.door.name, server.vocabulary) == ("native", 1000)
        assert server.settings == routes["/server_info"]
        assert asyncio.run(meet(url, wanted="openai")).door.name == "openai"
    assert {each.text for each in timelines} == {"ab" * 4}
    assert [[piece.tokens for piece in each.pieces] for each in timelines] == [[1, 2, 3, 4]] * 4
    assert all(max(body["input_ids"]) < 1000 for body in heard)


def test_no_more_at_once_than_allowed() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def respond(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        completion(handler, body)

    with serving(respond) as (url, _):
        run(url, Load(workload=FEW, max_concurrency=2, warmups=0))
        assert most == [2]
        run(url, Load(workload=FEW, max_concurrency=None, warmups=0))
        assert most == [4]


def test_requests_come_at_a_rate() -> None:
    with serving(completion) as (url, _):
        _, timelines = run(url, Load(workload=FEW, request_rate=50.0, warmups=0))
    sent = [each.sent for each in timelines]
    assert sent == sorted(sent)
    assert sent[-1] - sent[0] > 0.01


def dies(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    chunked(handler, [event({"choices": [{"text": "a"}]})], has_end=False)


def leaves(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    """Closes properly, but before [DONE]."""
    chunked(handler, [event({"choices": [{"text": "a"}]})])


def tells(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    chunked(handler, [event({"choices": [{"text": "a"}]}), event({"error": {"message": "the engine died"}})])


def babbles(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    chunked(handler, [b"data: {oops\n\n"])


def strange(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    chunked(handler, [event({"usage": {"total": 1}, "choices": []})])


def mute(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    pass


def full(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    whole(handler, 503, {"error": {"message": "the queue is full"}})


@pytest.mark.parametrize(
    ("respond", "says"),
    [
        (dies, "127.0.0.1"),
        (leaves, "the answer ended in the middle"),
        (tells, "the engine died"),
        (babbles, "an event that is no JSON"),
        (strange, "an event without 'completion_tokens'"),
        (mute, "127.0.0.1"),
        (full, "the server refused with 503: the queue is full"),
    ],
)
def test_a_failure_is_told_and_ends_one_request(respond: Respond, says: str) -> None:
    calls = iter(range(100))

    def once(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        (respond if next(calls) == 0 else completion)(handler, body)

    with serving(once) as (url, _):
        _, timelines = run(url, Load(workload=FEW, max_concurrency=1, warmups=0))
    assert [each.is_done for each in timelines] == [False, True, True, True]
    assert says in (timelines[0].error or "")


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(EngineDead, match=r"no server answers at 127\.0\.0\.1:1 "):
        asyncio.run(meet("http://127.0.0.1:1"))


def test_a_warm_up_that_is_refused_ends_the_run() -> None:
    with serving(full) as (url, _), pytest.raises(StemmaError, match="the queue is full"):
        run(url, Load(workload=FEW))


def test_a_server_without_any_door() -> None:
    with serving(completion) as (url, _), pytest.raises(BadRequest, match=r"404: .*Not Found"):
        asyncio.run(meet(f"{url}/elsewhere"))


@pytest.mark.parametrize("found", [{"data": []}, {"error": "no"}, ["x"]])
def test_a_server_without_a_model(found: object) -> None:
    with serving(completion, {"/v1/models": found}) as (url, _), pytest.raises(BadRequest, match="names no model"):
        asyncio.run(meet(url))


def test_addresses() -> None:
    https = address_of("https://example.org/v1", "key")
    assert (https.host, https.port, https.is_secure, https.base) == ("example.org", 443, True, "")
    assert address_of("example.org:80/api/").base == "/api"
    for wrong in ("ftp://x", "http://", "", "http://x:port"):
        with pytest.raises(ConfigError, match="is no address"):
            address_of(wrong)


def test_the_command_counts_failures_and_still_reports(capsys: pytest.CaptureFixture[str]) -> None:
    calls = iter(range(100))

    def twice(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        (dies if next(calls) in (1, 2) else completion)(handler, body)

    words = "bench throughput --requests 5 --input-tokens 4 --output-tokens 3 --max-concurrency 1 --url".split()
    with serving(twice) as (url, _):
        assert main([*words, url]) == 1
    out, err = capsys.readouterr()
    assert "Successful requests:                     3\nFailed requests:                         2\n" in out
    assert err.startswith("stemma: error: 2 of 5 requests failed: ") and err.count("\n") == 1
