"""Structured output on acorn, through every door: at a temperature where a free answer would keep no form."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.architecture.source import ROOT
from tests.live.test_examples import code_of
from tests.live_server import LiveServer, events, live_server

PAGE = ROOT / "docs" / "how" / "structured-output.md"
CHAT, TEXT, NATIVE = "/v1/chat/completions", "/v1/completions", "/generate"
HOT: dict[str, Any] = {"temperature": 1.5, "max_tokens": 200}
HI = [{"role": "user", "content": "Tell me something."}]
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["red", "green"]}, "maxItems": 3},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 10}},
    "required": ["city"],
    "additionalProperties": False,
}
SCHEMAS = {"get_weather": CITY, "remember": PERSON}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in SCHEMAS.items()]
STRICT = [{"type": "function", "function": tool["function"] | {"strict": True}} for tool in TOOLS]  # type: ignore[operator]  # JSON
NAMED = {"type": "function", "function": {"name": "remember"}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}

DIGITS = {"type": "regex", "pattern": "[0-9]{2}"}
MARKED = {"type": "sequence", "elements": [{"type": "const_string", "value": "<a>"}, DIGITS]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(None, tmp_path_factory.mktemp("log") / "log", "--max-total-tokens", "16k") as running:
        yield running


def ask(server: LiveServer, route: str, **body: Any) -> dict[str, Any]:
    answer = server.http.post(route, json={"certificate": True, **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def streamed(server: LiveServer, route: str, **body: Any) -> list[dict[str, Any]]:
    with server.http.stream("POST", route, json={"certificate": True, "stream": True, **body}) as answer:
        assert answer.status_code == 200
        return list(events(answer.iter_lines()))


def chosen(server: LiveServer, **body: Any) -> list[dict[str, Any]]:
    """The choices of a hot chat; where each came to its end, its certificate says so."""
    choices = ask(server, CHAT, **{"messages": HI, **HOT, **body})["choices"]
    for choice in choices:
        is_cut = choice["finish_reason"] == "length"
        assert choice["certificate"]["verdict"] == ("cut off" if is_cut else "valid"), choice
    return list(choices)


def check_calls(choices: list[dict[str, Any]], most: int = 100) -> int:
    """How many choices came to their end; the calls of these are whole and keep their schemas."""
    ended = [choice for choice in choices if choice["finish_reason"] != "length"]
    for choice in ended:
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] == ""
        calls = choice["message"]["tool_calls"]
        assert 1 <= len(calls) <= most
        for call in calls:
            jsonschema.validate(json.loads(call["function"]["arguments"]), SCHEMAS[call["function"]["name"]])
    return len(ended)


def test_forced_calls_keep_their_schemas(server: LiveServer) -> None:
    ended = check_calls(chosen(server, tools=TOOLS, tool_choice="required", n=16, seed=1))
    assert ended >= 4
    assert check_calls(chosen(server, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, n=16), 1) == 16
    named = chosen(server, tools=TOOLS, tool_choice=NAMED, n=16, seed=2)
    assert check_calls(named, 1) == 16
    assert {call["function"]["name"] for choice in named for call in choice["message"]["tool_calls"]} == {"remember"}


def test_several_calls(server: LiveServer) -> None:
    said = [{"role": "user", "content": "What is the weather in Berlin and in Rome?"}]
    counts = [
        len(choice["message"]["tool_calls"])
        for choice in chosen(server, messages=said, tools=TOOLS, tool_choice="required", n=16, seed=3, temperature=1.0)
        if choice["finish_reason"] == "tool_calls"
    ]
    assert max(counts) > 1


def test_a_stream_says_the_same(server: LiveServer) -> None:
    body = {"messages": HI, "tools": TOOLS, "tool_choice": "required", "seed": 4, **HOT}
    (whole,) = ask(server, CHAT, **body)["choices"]
    calls: list[list[str]] = []
    last: dict[str, Any] = {}
    for chunk in streamed(server, CHAT, **body):
        last = chunk["choices"][0]
        for call in last["delta"].get("tool_calls", []):
            if call["id"]:
                calls.append([call["function"]["name"], ""])
            calls[-1][1] += call["function"]["arguments"]
    assert calls == [
        [call["function"]["name"], call["function"]["arguments"]] for call in whole["message"]["tool_calls"]
    ]
    assert (last["finish_reason"], last["certificate"]) == (whole["finish_reason"], whole["certificate"])


def test_strict_tools_leave_text_free(server: LiveServer) -> None:
    """What a model says well of itself is the same with a grammar and without."""
    for question, reason in (("Hi!", "stop"), ("What is the weather in Paris?", "tool_calls")):
        said = {"messages": [{"role": "user", "content": question}], "temperature": 0.0, "max_tokens": 100}
        free, held = (ask(server, CHAT, tools=tools, **said)["choices"][0] for tools in (TOOLS, STRICT))
        assert (free.pop("certificate"), held.pop("certificate")["verdict"]) == (None, "valid")
        for call in free["message"].get("tool_calls", []) + held["message"].get("tool_calls", []):
            del call["id"]
        assert held == free
        assert held["finish_reason"] == reason


def test_strict_tools_hold_hot_calls(server: LiveServer) -> None:
    said = [{"role": "user", "content": "What is the weather in Paris?"}]
    calls = [
        call["function"]
        for choice in chosen(server, messages=said, tools=STRICT, n=32, seed=5)
        for call in choice["message"].get("tool_calls", [])
        if choice["finish_reason"] != "length"
    ]
    assert calls
    for call in calls:
        jsonschema.validate(json.loads(call["arguments"]), SCHEMAS[call["name"]])


@pytest.mark.parametrize("thinking", [None, False, True])
def test_json_keeps_its_schema_with_and_without_thoughts(server: LiveServer, thinking: bool | None) -> None:
    kwargs = {} if thinking is None else {"chat_template_kwargs": {"enable_thinking": thinking}}
    choices = chosen(server, response_format=FORMAT, n=16, seed=6, **kwargs)
    ended = [choice for choice in choices if choice["finish_reason"] == "stop"]
    for choice in ended:
        jsonschema.validate(json.loads(choice["message"]["content"]), PERSON)
    assert len(ended) >= (8 if thinking else 15)


def test_content_or_calls(server: LiveServer) -> None:
    for choice in chosen(server, response_format=FORMAT, tools=STRICT, n=16, seed=7):
        if choice["finish_reason"] == "tool_calls":
            check_calls([choice])
        elif choice["finish_reason"] == "stop":
            jsonschema.validate(json.loads(choice["message"]["content"]), PERSON)


@pytest.mark.parametrize(
    ("params", "keeps"),
    [
        ({"regex": "[a-c]{3,5}(, [a-c]+){2}"}, re.compile("[a-c]{3,5}(, [a-c]+){2}").fullmatch),
        ({"ebnf": 'root ::= "yes" | "no" ", " [0-9] [0-9]'}, re.compile("yes|no, [0-9][0-9]").fullmatch),
        ({"json_schema": json.dumps({"enum": ["a", 1, {"b": None}]})},
         lambda text: json.loads(text) in ["a", 1, {"b": None}]),
        ({"structural_tag": json.dumps({"type": "structural_tag", "format": MARKED})},
         re.compile("<a>[0-9]{2}").fullmatch),
    ],
)  # fmt: skip
def test_the_native_route(server: LiveServer, params: dict[str, str], keeps: Any) -> None:
    sampling = {"temperature": 1.5, "max_new_tokens": 120, "n": 8, **params}
    answers: Any = server.http.post(
        NATIVE, json={"text": "Once", "sampling_params": sampling, "certificate": True}
    ).json()
    for answer in answers:
        certificate = answer["meta_info"]["certificate"]
        assert certificate["backend"] == "chain"
        if answer["meta_info"]["finish_reason"]["type"] == "stop":
            assert keeps(answer["text"]), answer
            assert certificate["verdict"] == ("valid" if {"regex", "json_schema"} & set(params) else "unchecked")
        else:
            assert certificate["verdict"] == "cut off"


def test_what_is_cut_off_says_so(server: LiveServer) -> None:
    (choice,) = ask(server, CHAT, messages=HI, response_format=FORMAT, max_tokens=4, temperature=0.0)["choices"]
    assert (choice["finish_reason"], choice["certificate"]["verdict"]) == ("length", "cut off")
    chunks = streamed(server, TEXT, prompt="x", json_schema=json.dumps(PERSON), max_tokens=4)
    assert chunks[-1]["choices"][0]["certificate"]["verdict"] == "cut off"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"regex": "(?=a)b"}, "regex"),
        ({"regex": "("}, "regex"),
        ({"ebnf": "root ::= ("}, "ebnf"),
        ({"ebnf": "root ::= other"}, "ebnf"),
        ({"json_schema": '{"$ref": "http://127.0.0.1:9/x"}'}, "127.0.0.1:9"),
        ({"json_schema": '{"type": "strin"}'}, "type"),
        ({"structural_tag": '{"type": "structural_tag", "format": {"type": "poem"}}'}, "poem"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_kept_is_refused(server: LiveServer, body: dict[str, str], place: str, stream: bool) -> None:
    for route, rest in ((CHAT, {"messages": HI}), (TEXT, {"prompt": "x"})):
        answer = server.http.post(route, json={**rest, **body, "stream": stream})
        assert answer.status_code == 400, answer.text
        assert place in answer.json()["message"]


def test_the_page_runs(server: LiveServer, capsys: pytest.CaptureFixture[str]) -> None:
    code = code_of(PAGE).replace("127.0.0.1:30000", f"127.0.0.1:{server.port}")
    exec(compile(code, str(PAGE), "exec"), {})
    said = capsys.readouterr().out
    assert "'name'" in said and "get_weather" in said
    assert "'valid'" in said and "'cut off'" in said
