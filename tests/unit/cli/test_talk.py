"""Conversations over HTTP, held with a made-up server that answers what the test says."""

import io
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from stemma.cli.main import main
from stemma.cli.prompt import lines_of_terminal
from stemma.cli.talk import Pace, Talk
from stemma.core.base.errors import BadRequest, ConfigError, EngineDead


@dataclass
class Script:
    """What the server says, and what it heard."""

    url: str = ""
    pieces: list[str] = field(default_factory=lambda: ["Good ", "day."])
    thoughts: list[str] = field(default_factory=list)
    status: int = 200
    error: str | None = None  # told in the middle of the stream
    heard: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    def events(self) -> Iterator[object]:
        yield {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
        for thought in self.thoughts:
            yield {"choices": [{"index": 0, "delta": {"reasoning_content": thought}}]}
        for piece in self.pieces:
            yield {"choices": [{"index": 0, "delta": {"content": piece}}]}
        if self.error:
            yield {"error": {"message": self.error}}
            return
        yield {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        yield {"choices": [], "usage": {"completion_tokens": 7, "prompt_tokens": 3}}


@pytest.fixture
def script() -> Iterator[Script]:
    made = Script()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/chat/completions"
            made.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            made.keys.append(self.headers["Authorization"])
            self.send_response(made.status)
            self.end_headers()
            if made.status != 200:
                self.wfile.write(b'{"object":"error","message":"too long","code":400}')
                return
            with suppress(ConnectionError):  # who stops an answer hangs up
                for event in made.events():
                    self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
                self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_answer_comes_in_pieces_and_is_remembered(script: Script) -> None:
    talk = Talk(script.url, "secret", {"max_new_tokens": 9, "top_k": 3, "sampling_seed": 1}, "Be kind.")
    assert list(talk.answer("Hello")) == ["Good ", "day."]
    assert list(talk.answer("Again")) == ["Good ", "day."]
    first, second = script.heard
    assert first["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
    ]
    assert second["messages"] == [
        *first["messages"],
        {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": "Again"},
    ]
    assert (first["max_tokens"], first["top_k"], first["seed"], first["stream"]) == (9, 3, 1, True)
    assert script.keys == ["Bearer secret", "Bearer secret"]
    assert talk.pace.tokens == 7


def test_thoughts_are_told_and_not_remembered(script: Script) -> None:
    script.thoughts = ["Polite", "ly."]
    talk = Talk(script.url, None, {}, None)
    assert "".join(talk.answer("Hello")) == "Politely.\n\nGood day."
    assert talk.messages[-1]["content"] == "Good day."


def test_an_answer_that_was_stopped_counts_as_far_as_it_went(script: Script) -> None:
    talk = Talk(script.url, None, {}, None)
    pieces = talk.answer("Hello")
    assert next(pieces) == "Good "
    pieces.close()
    assert talk.messages[-1] == {"role": "assistant", "content": "Good "}


def test_what_was_refused_was_never_said(script: Script) -> None:
    script.status = 400
    talk = Talk(script.url, None, {}, None)
    with pytest.raises(BadRequest, match="the server refused with 400: too long"):
        list(talk.answer("Hello"))
    assert talk.messages == []


def test_an_error_in_the_stream_is_told(script: Script) -> None:
    script.error = "the engine died"
    talk = Talk(script.url, None, {}, None)
    with pytest.raises(EngineDead, match="the engine died"):
        list(talk.answer("Hello"))


def test_a_server_that_is_not_there() -> None:
    talk = Talk("http://127.0.0.1:1", None, {}, None)
    with pytest.raises(EngineDead, match=r"no server answers at 127\.0\.0\.1:1 "):
        list(talk.answer("Hello"))
    assert talk.messages == []


def test_addresses() -> None:
    Talk("localhost:30000", None, {}, None)
    Talk("https://example.org/v1", None, {}, None)
    for wrong in ("ftp://x", "http://", ""):
        with pytest.raises(ConfigError, match="is no address"):
            Talk(wrong, None, {}, None)


def test_pace_is_counted_from_the_first_piece() -> None:
    pace = Pace(first_seconds=0.5, seconds=2.5, tokens=21)
    assert str(pace) == "21 tokens, 10.0 tokens/s, first after 0.50 s"
    assert str(Pace(first_seconds=0.5, seconds=0.5, tokens=1)) == "1 tokens, first after 0.50 s"


def chat(script: Script, text: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    return main(["chat", "--url", script.url, "--temperature", "0"])


def test_without_a_terminal_each_line_is_a_message(
    script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "Hello\n\nAgain\n/reset\nAnew\n/system Be brief.\nWho?\n/fly\n/exit\nnever said\n"
    assert chat(script, lines, monkeypatch) == 0
    out, err = capsys.readouterr()
    assert out == "Good day.\n" * 4
    assert err.count("[7 tokens") == 4
    assert "no command /fly; /help lists them" in err
    roles = [[message["role"] for message in heard["messages"]] for heard in script.heard]
    assert roles == [["user"], ["user", "assistant", "user"], ["user"], ["system", "user"]]
    assert {heard["temperature"] for heard in script.heard} == {0}


def test_an_error_ends_the_answer_and_not_the_chat(
    script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script.status = 400
    assert chat(script, "Hello\nAgain\n", monkeypatch) == 0
    assert capsys.readouterr().err.count("stemma: error: the server refused with 400: too long\n") == 2


def test_ctrl_c_stops_the_answer_and_not_the_chat(
    script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = Talk.answer

    def interrupted(talk: Talk, text: str) -> Iterator[str]:
        yield next(answer(talk, text))
        raise KeyboardInterrupt

    monkeypatch.setattr(Talk, "answer", interrupted)
    assert chat(script, "Hello\nAgain\n", monkeypatch) == 0
    assert capsys.readouterr().out == "Good  (stopped)\n" * 2


def test_a_terminal_has_history_and_more_than_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def typed(keys: str) -> list[str]:
        with create_pipe_input() as keyboard, create_app_session(input=keyboard, output=DummyOutput()):
            keyboard.send_text(keys)
            return list(lines_of_terminal())

    ctrl_c, ctrl_d, alt_enter, up = "\x03", "\x04", "\x1b\r", "\x1b[A"
    assert typed(f"one{alt_enter}two\rgarbage{ctrl_c}three\r{ctrl_d}") == ["one\ntwo", "three"]
    assert typed(f"{up}\r{ctrl_d}") == ["three"]
