"""Answers that must match something, from the body to the request of the engine, and back to the certificate."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel

from stemma.core.types.grammar import Grammar
from stemma.core.types.request import Request
from tests.fake_engine import FakeEngine
from tests.server.harness import END, MODEL, TEMPLATE, Json, events, fake_engine, house, on_a_port, says
from tests.server.test_tools import ASKED, CALL, CHAT, PARSERS, TOOL

HI: Json = {"messages": [{"role": "user", "content": "hi"}]}
TEXT = "/v1/completions"
NATIVE = "/generate"
SCHEMA: Json = {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"type": "null"}}, "required": ["b"]}
GOOD = '{"b": 3}'
AS_SCHEMA: Json = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
TAG: Json = {"type": "structural_tag", "format": {"type": "any_text"}}
OLD_TAG: Json = {
    "type": "structural_tag",
    "triggers": ["<f"],
    "structures": [{"begin": "<f>", "schema": SCHEMA, "end": "</f>"}],
}
STRICT: Json = {"type": "function", "function": {**TOOL["function"], "strict": True}}
BARE: Json = {"type": "function", "function": {"name": "now"}}


def native(**sampling: object) -> Json:
    return {"text": "hi", "sampling_params": sampling}


def held(route: str, body: Json, **serve: object) -> Grammar | None:
    """What the engine is asked to hold the answer to."""

    async def main() -> Grammar | None:
        async with house(fake_engine(says(GOOD)), **(PARSERS | serve)) as h:
            answer = await h.post(route, body)
            assert answer.status_code == 200, answer.text
            return h.requests()[0].grammar

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("route", "body", "kind", "source"),
    [
        (NATIVE, native(json_schema='{"b": true, "a": 1}'), "json_schema", '{"b": true, "a": 1}'),
        (NATIVE, native(regex="a+"), "regex", "a+"),
        (NATIVE, native(ebnf='root ::= "a"'), "ebnf", 'root ::= "a"'),
        (NATIVE, native(structural_tag=json.dumps(TAG)), "structural_tag", json.dumps(TAG)),
        (TEXT, {"prompt": "hi", "response_format": AS_SCHEMA}, "json_schema", json.dumps(SCHEMA)),
        (TEXT, {"prompt": "hi", "response_format": {"type": "json_object"}}, "json_schema", '{"type": "object"}'),
        (TEXT, {"prompt": "hi", "regex": "a+", "response_format": {"type": "text"}}, "regex", "a+"),
    ],
)
def test_what_reaches_the_engine(route: str, body: Json, kind: str, source: str) -> None:
    assert held(route, body) == Grammar(kind, source)  # type: ignore[arg-type]  # the table names known kinds


@pytest.mark.parametrize("tag", [TAG, OLD_TAG])
def test_structural_tags_of_clients_go_through_as_they_are(tag: Json) -> None:
    grammar = held(TEXT, {"prompt": "hi", "response_format": tag})
    assert grammar is not None
    assert (grammar.kind, json.loads(grammar.source)) == ("structural_tag", tag)


@pytest.mark.parametrize("body", [native(), native(regex=""), native(json_schema=None, ebnf="")])
def test_what_is_empty_holds_nothing(body: Json) -> None:
    assert held(NATIVE, body) is None


def test_a_default_of_the_server_gives_way() -> None:
    preferred = '{"regex": "a+"}'
    assert held(NATIVE, native(), preferred_sampling=preferred) == Grammar("regex", "a+")
    assert held(NATIVE, native(ebnf="x"), preferred_sampling=preferred) == Grammar("ebnf", "x")
    found = held(TEXT, {"prompt": "hi", "response_format": {"type": "json_object"}}, preferred_sampling=preferred)
    assert found == Grammar("json_schema", '{"type": "object"}')


def form_of(body: Json, **serve: object) -> Any:
    """The format of the tag that a chat is held to; None when it may be anything."""
    grammar = held(CHAT, HI | body, **serve)
    if grammar is None:
        return None
    assert grammar.kind == "structural_tag"
    return json.loads(grammar.source)["format"]


def tag(name: str, schema: object) -> Json:
    return {
        "type": "tag",
        "begin": f'<tool_call>\n{{"name": "{name}", "arguments": ',
        "content": {"type": "json_schema", "json_schema": schema},
        "end": "}\n</tool_call>",
    }


WEATHER = TOOL["function"]["parameters"]
NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
ANY = {"type": "object"}
NAMED = {"type": "function", "function": {"name": "get_weather"}}


def only(*tags: Json, many: bool = True) -> Json:
    return {
        "type": "tags_with_separator",
        "tags": [*tags],
        "separator": "\n",
        "at_least_one": True,
        "stop_after_first": not many,
    }


@pytest.mark.parametrize(
    ("body", "meant"),
    [
        ({"tools": [TOOL]}, None),
        ({"tools": [STRICT], "tool_choice": "none"}, None),
        ({"tools": [TOOL, BARE], "tool_choice": "required"}, only(tag("get_weather", WEATHER), tag("now", NOTHING))),
        ({"tools": [TOOL, BARE], "tool_choice": NAMED}, only(tag("get_weather", WEATHER), many=False)),
        ({"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
         only(tag("get_weather", WEATHER), many=False)),
        ({"tools": [{"function": {"name": "f", "strict": False, "parameters": WEATHER}}], "tool_choice": "required"},
         only(tag("f", ANY))),
        ({"tools": [{"function": {"name": "f", "parameters": {"type": ["object", "null"]}}}],
          "tool_choice": "required"}, only(tag("f", ANY))),
        ({"tools": [STRICT, BARE]},
         {"type": "triggered_tags", "triggers": ["<tool_call>"], "stop_after_first": False,
          "tags": [tag("get_weather", WEATHER), tag("now", ANY)]}),
        ({"tools": [STRICT], "response_format": {"type": "json_object"}},
         {"type": "or", "elements": [{"type": "json_schema", "json_schema": ANY}, only(tag("get_weather", WEATHER))]}),
    ],
)  # fmt: skip
def test_tools_become_tags(body: Json, meant: Json | None) -> None:
    assert form_of(body, reasoning_parser=None) == meant


def test_thoughts_are_free_and_come_first() -> None:
    content = {"type": "json_schema", "json_schema": SCHEMA}
    after = {"type": "const_string", "value": "\n\n"}

    def thinking(begin: str, answer: Json, **text: object) -> Json:
        thought = {"type": "tag", "begin": begin, "content": {"type": "any_text", **text}, "end": "</think>"}
        return {"type": "sequence", "elements": [thought, after, answer]}

    is_thinking = {"chat_template_kwargs": {"enable_thinking": True}}
    asked = {"response_format": AS_SCHEMA}
    called = {"tools": [TOOL], "tool_choice": "required"}
    either = {"type": "or", "elements": [thinking("<think>", content), content]}
    assert form_of(asked, template=TEMPLATE) == either  # which knows no switch
    assert held(CHAT, HI | asked) == Grammar("json_schema", json.dumps(SCHEMA))  # which must be switched on
    assert form_of(asked | is_thinking) == thinking("", content)
    calls = only(tag("get_weather", WEATHER))
    assert form_of(called | is_thinking) == thinking("", calls, excludes=["<tool_call>"])
    quiet = held(CHAT, HI | asked | {"reasoning_effort": "none"}, template=TEMPLATE)
    assert quiet == Grammar("json_schema", json.dumps(SCHEMA))
    for said in ("<think>so</think>\n\n", '{"b":'):
        going_on = {
            "messages": [*HI["messages"], {"role": "assistant", "content": said}],
            "continue_final_message": True,
        }
        assert held(CHAT, going_on | asked) == Grammar("json_schema", json.dumps(SCHEMA))


LATE: list[tuple[str, Json, str]] = [
    (NATIVE, native(regex="a", ebnf="b"), "sampling_params.regex and sampling_params.ebnf"),
    (NATIVE, native(regex=3), "sampling_params.regex"),
    (NATIVE, native(regex="a\x00"), "sampling_params.regex"),
    (NATIVE, native(regex="a" * (2**20 + 1)), "sampling_params.regex"),
    (NATIVE, native(json_schema={"type": "object"}), "sampling_params.json_schema: give a string"),
    (NATIVE, native(json_schema="{"), "sampling_params.json_schema"),
    (NATIVE, native(json_schema="[]"), "sampling_params.json_schema"),
    (NATIVE, native(json_schema='{"a":' * 5000 + "1" + "}" * 5000), "sampling_params.json_schema"),
    (NATIVE, native(json_schema='{"properties": {"a": {"type": "strin"}}}'), "$.properties.a.type"),
    (NATIVE, native(structural_tag="{}"), "sampling_params.structural_tag"),
    (NATIVE, native(structural_tag='{"type": "structural_tag"}'), "structural_tag: give a format"),
    (NATIVE, native(structural_tag=json.dumps(OLD_TAG | {"triggers": 3})), "structural_tag.triggers"),
    (CHAT, HI | {"regex": "a+", "response_format": AS_SCHEMA}, "response_format and regex"),
    (CHAT, HI | {"regex": "a+", "ebnf": "a"}, "regex and ebnf"),
    (CHAT, HI | {"regex": 3}, "regex"),
    (CHAT, HI | {"response_format": {"type": "json_schema"}}, "response_format"),
    (CHAT, HI | {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "json_schema"),
    (CHAT, HI | {"response_format": {"type": "json_schema", "json_schema": {"schema": 3}}}, "json_schema.schema"),
    (CHAT, HI | {"response_format": {"type": "json_schema", "json_schema": {"schema": {"minimum": "x"}}}},
     "response_format.json_schema.schema: no JSON schema that can be used: $.minimum"),
    (CHAT, HI | {"response_format": {"type": "structural_tag"}}, "response_format: give a format"),
    (CHAT, ASKED | {"tool_choice": "required", "response_format": AS_SCHEMA}, "tool_choice"),
    (CHAT, ASKED | {"tool_choice": "required", "regex": "a"}, "tool_choice"),
    (CHAT, HI | {"tool_choice": "required"}, "tool_choice"),
    (CHAT, HI | {"tools": [{"function": {"name": "f", "strict": True, "parameters": {"type": "array"}}}]},
     "tools[0].function.parameters.type"),
    (CHAT, HI | {"tools": [{"function": {"name": "f", "strict": True, "parameters": {"minLength": "x"}}}]},
     "tools[0].function.parameters: no JSON schema that can be used: $.minLength"),
    (CHAT, HI | {"tools": [{"function": {"name": f"f{at}", "description": "", "parameters": {"const": "x" * 9000}}}
                           for at in range(120)], "tool_choice": "required"}, "tools: their grammar has"),
    (TEXT, {"prompt": "hi", "json_schema": '{"enum": 3}'}, "json_schema: no JSON schema that can be used: $.enum"),
]  # fmt: skip


async def test_what_cannot_be_is_refused_at_the_door() -> None:
    async with house(**PARSERS, max_body_bytes=8 << 20) as h:
        for route, body, place in LATE:
            for stream in (False, True):
                answer = await h.post(route, body | {"stream": stream})
                assert answer.status_code == 400, (body, answer.text)
                assert place in json.dumps(answer.json()).replace("\\u0000", ""), (body, answer.text)
        assert not h.requests()


def refusing(reason: str) -> FakeEngine:
    engine = fake_engine(says(GOOD))
    engine.refuses = lambda request: reason if request.grammar else None
    return engine


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("route", "body"),
    [
        (CHAT, HI | {"response_format": AS_SCHEMA, "n": 2}),
        (TEXT, {"prompt": ["a", "b"], "regex": "a"}),
        (NATIVE, {"text": ["a", "b"], "sampling_params": [{}, {"regex": "a"}]}),  # the first has an answer by then
    ],
)
async def test_what_the_engine_refuses_is_refused_before_the_first_byte(route: str, body: Json, stream: bool) -> None:
    async with house(refusing("json_schema: uniqueItems is not served")) as h:
        answer = await h.post(route, body | {"stream": stream})
        assert answer.status_code == 400
        assert "uniqueItems" in answer.text
        assert not h.engine.running


def digest(value: object) -> str:
    text = (
        value
        if isinstance(value, str)
        else json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    )
    return hashlib.sha256(text.encode()).hexdigest()


OF_SCHEMA = {"json_schema": digest(SCHEMA)}
OF_TOOLS = {"tools": digest({"get_weather": WEATHER})}


def certificates(route: str, body: Json, said: str, is_last: Callable[[Json], bool]) -> tuple[Json, Json]:
    """Of the whole answer, and of the stream, where it comes with the finish and nowhere else."""

    async def main() -> tuple[Json, Json]:
        engine = fake_engine(says(said))
        engine.tokens_per_chunk = 5
        async with house(engine, **PARSERS) as h:
            whole = (await h.post(route, body | {"certificate": True})).json()
            chunks = events((await h.post(route, body | {"certificate": True, "stream": True})).text)
            plain = (await h.post(route, body)).text
        assert "certificate" not in plain
        (last,) = [chunk for chunk in chunks if "certificate" in json.dumps(chunk)]
        assert is_last(last)
        return found(whole), found(last)

    return asyncio.run(main())


def found(answer: Json) -> Json:
    holder = answer["choices"][0] if "choices" in answer else answer["meta_info"]
    certificate: Json = holder["certificate"]
    return certificate


@pytest.mark.parametrize(
    ("route", "body", "said", "verdict", "sha256"),
    [
        (NATIVE, native(json_schema=json.dumps(SCHEMA)), GOOD, "valid", OF_SCHEMA),
        (NATIVE, native(json_schema=json.dumps(SCHEMA), max_new_tokens=3), GOOD, "cut off", OF_SCHEMA),
        (NATIVE, native(json_schema=json.dumps(SCHEMA), stop="}"), GOOD, "cut off", OF_SCHEMA),
        (NATIVE, native(json_schema=json.dumps(SCHEMA)), "{}", "invalid", OF_SCHEMA),
        (NATIVE, native(regex="a+"), "aaa", "valid", {"regex": digest("a+")}),
        (NATIVE, native(ebnf="x"), "aaa", "unchecked", {"ebnf": digest("x")}),
        (TEXT, {"prompt": "x", "response_format": AS_SCHEMA}, GOOD, "valid", OF_SCHEMA),
        (CHAT, HI | {"response_format": AS_SCHEMA}, GOOD, "valid", OF_SCHEMA),
        (CHAT, HI | {"response_format": AS_SCHEMA}, f"<think>x</think>\n\n{GOOD}", "valid", OF_SCHEMA),
        (CHAT, HI | {"response_format": AS_SCHEMA, "separate_reasoning": False}, f"<think>x</think>\n\n{GOOD}", "valid",
         OF_SCHEMA),
        (CHAT, HI | {"tools": [STRICT], "tool_choice": "required"}, CALL % "x", "valid", OF_TOOLS),
        (CHAT, HI | {"tools": [STRICT], "tool_choice": "required"}, "hello", "invalid", OF_TOOLS),
        (CHAT, HI | {"tools": [STRICT]}, CALL.replace("city", "town") % "x", "invalid", OF_TOOLS),
        (CHAT, HI | {"tools": [STRICT]}, "hello", "valid", OF_TOOLS),
    ],
)  # fmt: skip
def test_certificates(route: str, body: Json, said: str, verdict: str, sha256: Json) -> None:
    def is_last(chunk: Json) -> bool:
        holder = chunk["choices"][0] if "choices" in chunk else chunk["meta_info"]
        return holder["finish_reason"] is not None

    whole, streamed = certificates(route, body, said, is_last)
    assert whole == streamed
    assert (whole["verdict"], whole["sha256"]) == (verdict, sha256)
    assert (whole["detail"] is None) == (verdict == "valid")
    assert whole["sampled_tokens"] + whole["forced_tokens"] > 0


async def test_an_answer_that_may_be_anything_has_no_certificate() -> None:
    async with house() as h:
        assert found((await h.post(CHAT, HI | {"certificate": True})).json()) is None
        assert found((await h.post(NATIVE, {"text": "x", "certificate": True})).json()) is None


class Person(BaseModel):
    name: str
    age: int


class GetWeather(BaseModel):
    city: str


async def test_the_official_client_parses_models() -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]

    def script(request: Request) -> list[int]:
        assert request.grammar is not None
        is_tool = request.grammar.kind == "structural_tag"
        said = CALL.replace("get_weather", "GetWeather") % "Oslo" if is_tool else '{"name": "Ö", "age": 3}'
        return [*said.encode(), END]

    async with (
        house(fake_engine(script), tool_call_parser="hermes") as h,
        on_a_port(h.app) as address,
        openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        answer = await client.chat.completions.parse(model=MODEL, messages=messages, response_format=Person)
        assert answer.choices[0].message.parsed == Person(name="Ö", age=3)
        called = await client.chat.completions.parse(
            model=MODEL,
            messages=messages,
            tools=[openai.pydantic_function_tool(GetWeather)],
            tool_choice="required",
        )
        calls = called.choices[0].message.tool_calls or []
        assert [call.function.parsed_arguments for call in calls] == [GetWeather(city="Oslo")]
        async with client.chat.completions.stream(
            model=MODEL, messages=messages, response_format=Person, extra_body={"certificate": True}
        ) as stream:
            final = await stream.get_final_completion()
        assert final.choices[0].message.parsed == Person(name="Ö", age=3)
        assert len(h.requests()) == 3


WORDS = st.sampled_from(
    "type json_schema schema format structures triggers name strict function properties $ref enum text json_object "
    "structural_tag object required".split()
)
ANYTHING: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "response_format": ANYTHING
        | st.fixed_dictionaries({"type": WORDS, "json_schema": ANYTHING, "format": ANYTHING}),
        "regex": ANYTHING,
        "json_schema": ANYTHING | ANYTHING.map(json.dumps),
        "structural_tag": ANYTHING.map(json.dumps),
        "tools": st.lists(st.fixed_dictionaries({"function": st.fixed_dictionaries(
            {"name": st.text(max_size=3)}, optional={"parameters": ANYTHING, "strict": st.booleans()})}), max_size=2),
        "tool_choice": ANYTHING | st.sampled_from(["required", "auto", {"function": {"name": "a"}}]),
        "certificate": st.booleans() | ANYTHING,
        "stream": st.booleans(),
        "parallel_tool_calls": st.booleans(),
    },
)  # fmt: skip


@given(st.lists(FIELDS, min_size=1, max_size=10))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_asked_is_served_or_refused(bodies: list[Json]) -> None:
    async def main() -> None:
        async with house(fake_engine(says(GOOD)), **PARSERS) as h:
            for body in bodies:
                answer = await h.post(CHAT, HI | body)
                assert answer.status_code in (200, 400), answer.text
                assert "InternalServerError" not in answer.text
                names = ("json_schema", "regex", "structural_tag")
                answer = await h.post(NATIVE, native(**{name: body[name] for name in names if name in body}))
                assert answer.status_code in (200, 400), answer.text

    asyncio.run(main())
