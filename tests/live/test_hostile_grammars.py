"""A session of hostile grammars through every door, beside streams of others, which go on."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from random import Random
from typing import Any

import httpx
import psutil
import pytest

from benchmarks.structured.hostile import hostile
from stemma.core.types.grammar import Grammar
from tests.live_server import LiveServer, live_server

GRAMMARS, CLIENTS, STREAMS = 105, 4, 2
SLOW = Grammar(
    "ebnf", "root ::= t0\n" + "".join(f't{at} ::= "a" t{at + 1} "b"\n' for at in range(30000)) + 't30000 ::= "x"'
)
GROWTH_BYTES = 1 << 30  # of all processes of a server
HI = [{"role": "user", "content": "Hi!"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    options = ("--max-total-tokens", "16k", "--grammar-compile-timeout", "0.3")
    with live_server(None, tmp_path_factory.mktemp("log") / "log", *options) as running:
        yield running


def asked(grammar: Grammar, random: Random) -> tuple[str, dict[str, Any]]:
    """One of the doors that a grammar of its kind has: a route and a body."""
    native = ("/generate", {"text": "Once", "sampling_params": {grammar.kind: grammar.source, "max_new_tokens": 6}})
    doors: list[tuple[str, dict[str, Any]]] = [
        native,
        ("/v1/completions", {"prompt": "Once", "max_tokens": 6, grammar.kind: grammar.source}),
        ("/v1/chat/completions", {"messages": HI, "max_tokens": 6, grammar.kind: grammar.source}),
    ]
    chat: dict[str, Any] = {"messages": HI, "max_tokens": 6}
    if grammar.kind == "json_schema" and (schema := json_of(grammar.source)) is not None:
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
        tool = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}
        doors.append(("/v1/chat/completions", chat | {"response_format": form}))
        doors.append(("/v1/chat/completions", chat | {"tools": [tool], "tool_choice": "required"}))
    if grammar.kind == "structural_tag" and (tag := json_of(grammar.source)) is not None:
        doors.append(("/v1/chat/completions", chat | {"response_format": tag}))
    return random.choice(doors)


def json_of(source: str) -> dict[str, Any] | None:
    try:
        found = json.loads(source)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class Stream(threading.Thread):
    """A client with no grammar that asks again and again, and counts what it gets."""

    def __init__(self, server: LiveServer):
        super().__init__()
        self._url = server.url
        self.tokens = 0
        self.wrong: list[str] = []
        self.is_over = False

    def run(self) -> None:
        params = {"max_new_tokens": 200, "ignore_eos": True}
        with httpx.Client(base_url=self._url, timeout=60) as http:
            while not self.is_over and not self.wrong:
                with http.stream(
                    "POST", "/generate", json={"text": "On", "sampling_params": params, "stream": True}
                ) as on:
                    for line in on.iter_lines():
                        self.tokens += line.startswith("data: {")
                        self.wrong += [line] if '"error"' in line or on.status_code != 200 else []


def memory(server: LiveServer) -> int:
    whole = psutil.Process(server.process.pid)
    return sum(each.memory_info().rss for each in [whole, *whole.children(recursive=True)])


def test_every_answer_is_a_200_or_a_400_and_others_go_on(server: LiveServer) -> None:
    random = Random(7)
    server.generate("warm", max_new_tokens=2, regex="a")
    before = memory(server)
    streams = [Stream(server) for _ in range(STREAMS)]
    for stream in streams:
        stream.start()
    most = before

    def send(grammar: Grammar) -> tuple[Grammar, str, httpx.Response]:
        route, body = asked(grammar, random)
        return grammar, route, server.http.post(route, json=body)

    statuses = {200: 0, 400: 0}
    with ThreadPoolExecutor(CLIENTS) as clients:
        for grammar, route, answer in clients.map(send, islice(hostile(1), GRAMMARS)):
            assert answer.status_code in statuses, (grammar.kind, grammar.source[:200], route, answer.text[:500])
            statuses[answer.status_code] += 1
            if answer.status_code == 400:
                said = answer.json()
                text = str(said.get("message") or said["error"]["message"])
                assert len(text) > 10, (grammar.kind, grammar.source[:200], route, answer.text[:500])
            most = max(most, memory(server))
    assert min(statuses.values()) > GRAMMARS // 5, statuses
    assert most - before < GROWTH_BYTES
    check_that_streams_pass(server, streams)
    for stream in streams:
        stream.is_over = True
    for stream in streams:
        stream.join()
        assert not stream.wrong
    server.wait_until_idle(30)
    assert server.generate("still here", max_new_tokens=2, regex="b")
    assert "Traceback" not in server.log.read_text()


def check_that_streams_pass(server: LiveServer, streams: list[Stream]) -> None:
    """While one grammar takes all the time that it may."""
    tokens = [stream.tokens for stream in streams]
    answer = server.http.post("/generate", json={"text": "On", "sampling_params": {"ebnf": SLOW.source}})
    assert answer.status_code == 400 and "--grammar-compile-timeout" in answer.text
    assert all(stream.tokens > count + 5 for stream, count in zip(streams, tokens, strict=True))
