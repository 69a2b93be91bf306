"""Tools and thoughts in chat completions: what the model is told, and what is read back from what it says."""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from stemma.core.base.errors import BadRequest
from stemma.core.types.tokens import unpack
from stemma.front.server.openai.tools import check_tools, choose
from stemma.front.text.tokenizer import Tokenizer
from tests.fake_engine import FakeEngine
from tests.server.harness import END, MODEL, TOKENIZER, Json, events, fake_engine, house, on_a_port, says
from tests.unit.front.vocabularies import EOS, byte_level_backend

CHAT = "/v1/chat/completions"
TEMPLATE = """\
{% for tool in tools or [] %}{{ tool | tojson }} {% endfor %}
{% for m in messages %}{{ m.role }}: {{ m.content }}
{% for call in m.tool_calls or [] %}
<tool_call>{{ call.function.name }} {{ call.function.arguments | tojson }}</tool_call>
{% endfor %}
{% endfor %}
{% if add_generation_prompt %}assistant: {{ '<think>\n' if enable_thinking }}{% endif %}
"""
PARSERS: Json = {"tool_call_parser": "hermes", "reasoning_parser": "qwen3", "template": TEMPLATE}
TOOL: Json = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ASKED: Json = {"messages": [{"role": "user", "content": "hi"}], "tools": [TOOL]}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "%s"}}\n</tool_call>'
SAID = f"<think>\nParis,\nthen Åland.\n</think>\n\nLet me see.\n{CALL % 'Paris'}\n{CALL % 'Åland </tool_call>'}"
MEANT = {
    "role": "assistant",
    "content": "Let me see.",
    "reasoning_content": "Paris,\nthen Åland.",
    "tool_calls": [
        {"index": 0, "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}},
        {"index": 1, "type": "function",
         "function": {"name": "get_weather", "arguments": '{"city": "Åland </tool_call>"}'}},
    ],
}  # fmt: skip


def without_ids(message: Json) -> Json:
    """The message, whose calls must each have an id of their own."""
    ids = [call.pop("id") for call in message.get("tool_calls", [])]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("call_[0-9a-f]{24}", id) for id in ids)
    return message


def reassembled(choices: Iterable[Json]) -> Json:
    """A stream's choices as one message; checks that they come in order."""
    message: Json = {"content": "", "reasoning_content": None}
    places = []
    for choice in choices:
        delta = choice["delta"]
        if "role" in delta:
            assert delta == {"role": "assistant", "content": ""}
            message["role"] = "assistant"
        for name in ("reasoning_content", "content"):
            if delta.get(name):
                message[name] = (message[name] or "") + delta[name]
                places.append(name)
        for call in delta.get("tool_calls", ()):
            calls = message.setdefault("tool_calls", [])
            if call["index"] == len(calls):
                assert call["function"]["arguments"] == ""
                calls.append(call)
            else:
                assert (call["index"], call["id"], call["function"]["name"]) == (len(calls) - 1, None, None)
                calls[-1]["function"]["arguments"] += call["function"]["arguments"]
            places.append("tool_calls")
    order = ["reasoning_content", "content", "tool_calls"]
    assert [order.index(place) for place in places] == sorted(order.index(place) for place in places)
    return message


async def test_an_answer_with_everything() -> None:
    # <think> is one token of this vocabulary, </think> is one for each letter
    tokens = [*TOKENIZER.encode("<think>"), *SAID.removeprefix("<think>").encode(), END]
    thought = 1 + len(SAID.partition("</think>")[0].removeprefix("<think>").encode()) + len("</think>")

    async with house(fake_engine(lambda request: tokens), **PARSERS) as h:
        answer = (await h.post(CHAT, ASKED)).json()
    choice, usage = answer["choices"][0], answer["usage"]
    assert without_ids(choice["message"]) == MEANT
    assert (choice["finish_reason"], choice["matched_stop"]) == ("tool_calls", None)
    assert usage["completion_tokens"] == len(tokens)
    assert usage["reasoning_tokens"] == thought
    assert usage["completion_tokens_details"] == {"reasoning_tokens": thought}


@pytest.mark.parametrize("step", [1, 2, 3, 7, 31, 64, 1000])
async def test_a_stream_says_the_same_however_long_a_step_is(step: int) -> None:
    engine = fake_engine(says(SAID))
    engine.tokens_per_chunk = step
    async with house(engine, **PARSERS) as h:
        whole = (await h.post(CHAT, ASKED)).json()
        body = ASKED | {"stream": True, "stream_options": {"include_usage": True}, "logprobs": True}
        chunks = events((await h.post(CHAT, body)).text)
    assert chunks[-1]["usage"] == whole["usage"]
    choices = [chunk["choices"][0] for chunk in chunks[:-1]]
    assert without_ids(reassembled(choices)) == MEANT
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["tool_calls"]
    assert (choices[-1]["delta"], choices[-1]["matched_stop"]) == ({}, None)
    logprobs = [item for choice in choices if choice["logprobs"] for item in choice["logprobs"]["content"]]
    assert len(logprobs) == whole["usage"]["completion_tokens"]


@pytest.mark.parametrize(
    ("said", "body", "meant"),
    [
        ("Hello", {}, {"content": "Hello", "reasoning_content": None}),
        ("I think</think>so", {"chat_template_kwargs": {"enable_thinking": True}},
         {"content": "so", "reasoning_content": "I think"}),
        ("<think>a</think>b", {"separate_reasoning": False},
         {"content": "<think>a</think>b", "reasoning_content": None}),
        ("<think>a</think>b", {"stream_reasoning": False}, {"content": "b", "reasoning_content": "a"}),
        (CALL % "x", {"tools": None}, {"content": CALL % "x", "reasoning_content": None}),
        (CALL % "x", {"tool_choice": "none"}, {"content": CALL % "x", "reasoning_content": None}),
        ("<tool_call>oops", {}, {"content": "<tool_call>oops", "reasoning_content": None}),
        (CALL.replace("get_weather", "no_tool") % "x", {}, {"content": "", "reasoning_content": None}),
        ("ok</think>b", {"messages": [*ASKED["messages"], {"role": "assistant", "content": "<think>it is "}],
                         "continue_final_message": True}, {"content": "b", "reasoning_content": "ok"}),
    ],
)  # fmt: skip
async def test_what_is_no_call(said: str, body: Json, meant: Json) -> None:
    async with house(fake_engine(says(said)), **PARSERS) as h:
        whole = (await h.post(CHAT, ASKED | body)).json()["choices"][0]
        chunks = events((await h.post(CHAT, ASKED | body | {"stream": True})).text)
    assert (whole["message"], whole["finish_reason"]) == ({"role": "assistant", **meant}, "stop")
    assert reassembled(chunk["choices"][0] for chunk in chunks) == whole["message"]


async def test_thoughts_may_come_at_once() -> None:
    async with house(fake_engine(says(SAID)), **PARSERS) as h:
        chunks = events((await h.post(CHAT, ASKED | {"stream": True, "stream_reasoning": False})).text)
    choices = [chunk["choices"][0] for chunk in chunks]
    told = [delta for choice in choices if (delta := choice["delta"].get("reasoning_content"))]
    assert told == [MEANT["reasoning_content"]]
    assert without_ids(reassembled(choices)) == MEANT


async def test_a_call_that_was_cut_off_says_so() -> None:
    async with house(fake_engine(says(CALL % "Paris")), **PARSERS) as h:
        choice = (await h.post(CHAT, ASKED | {"max_tokens": 60})).json()["choices"][0]
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"city": "P'
    assert choice["finish_reason"] == "length"


async def test_one_call_at_a_time_and_n_answers() -> None:
    async with house(fake_engine(says(SAID)), **PARSERS) as h:
        answer = (await h.post(CHAT, ASKED | {"parallel_tool_calls": False, "n": 2})).json()
    ids = [choice["message"]["tool_calls"][0]["id"] for choice in answer["choices"]]
    assert [len(choice["message"]["tool_calls"]) for choice in answer["choices"]] == [1, 1]
    assert len(set(ids)) == 2


async def test_what_the_model_is_told() -> None:
    called = {"id": "call_1", "type": "function",
              "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}  # fmt: skip
    history = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "rain"}]},
    ]

    async with house(**PARSERS) as h:
        for tools, choice in (([TOOL], "auto"), ([TOOL], "none"), ([], None)):
            body = {"messages": history, "tools": tools, "tool_choice": choice}
            assert (await h.post(CHAT, body)).status_code == 200
        tokens = (await h.post("/v1/tokenize", {"messages": history, "tools": [TOOL]})).json()["tokens"]
        told = [unpack(request.tokens) for request in h.requests()]
    prompts = [TOKENIZER.decode(ids, skip_special_tokens=False) for ids in told]
    conversation = (
        'user: hi\nassistant: \n<tool_call>get_weather {"city": "Paris"}</tool_call>\ntool: rain\nassistant: '
    )
    assert prompts == [json.dumps(TOOL) + " " + conversation, conversation, conversation]
    assert tokens == [*told[0]]


async def test_types_of_other_languages_become_those_of_json() -> None:
    properties = {"a": {"type": "int"}, "b": {"type": ["varchar", "null"]}, "c": {"items": {"type": "Double"}}}
    schema = {"type": "dict", "properties": properties}

    async with house(**PARSERS) as h:
        body = ASKED | {"tools": [{"function": {"name": "f", "parameters": schema}}]}
        assert (await h.post(CHAT, body)).status_code == 200
        told = TOKENIZER.decode(unpack(h.requests()[0].tokens))
    types = re.findall(r'"type": ("\w+"|\[[^]]*\])', told)
    assert types == ['"object"', '"integer"', '["string", "null"]', '"number"']


def special(*markers: str) -> tuple[Tokenizer, FakeEngine]:
    """A vocabulary where markers are special tokens, and an engine that says SAID in it."""
    backend = byte_level_backend()
    backend.add_special_tokens(list(markers))
    tokenizer = Tokenizer(backend, EOS)
    tokens = [*tokenizer.encode(SAID), END]
    engine = FakeEngine(
        script=lambda request: tokens, vocab_size=tokenizer.vocab_size, context=1024, stop_ids=(tokenizer.eos_id or 0,)
    )
    return tokenizer, engine


async def test_special_tokens_are_read_and_not_shown() -> None:
    tokenizer, engine = special("<think>", "</think>", "<tool_call>", "</tool_call>")

    async with house(engine, tokenizer=tokenizer, **PARSERS) as h:
        answer = (await h.post(CHAT, ASKED)).json()
        assert answer["choices"][0]["message"]["tool_calls"][1]["function"]["name"] == "get_weather"
        assert answer["choices"][0]["message"]["content"] == "Let me see."
        plain = (await h.post(CHAT, ASKED | {"tools": None})).json()["choices"][0]["message"]
        assert "<" not in plain["content"]
        assert plain["reasoning_content"] == MEANT["reasoning_content"]
        text = (await h.post("/generate", {"text": "hi"})).json()["text"]
        assert "<" not in text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tool_choice": "required", "tools": []}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "get_news"}}}, "tool_choice.function.name"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function"),
        ({"tools": [{"type": "web_search", "function": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [TOOL, TOOL]}, "tools[1].function.name"),
        ({"tools": [TOOL] * 257}, "tools"),
        ({"tools": [{"function": {"name": "f", "strict": 1}}]}, "tools[0].function.strict"),
        ({"tools": [{"function": {"name": "f", "parameters": {"type": "thing"}}}]}, "[0].function.parameters.type"),
        ({"tools": [{"function": {"name": "f", "parameters": {"properties": {"a": 5}}}}]}, "parameters.properties.a"),
        ({"tools": [{"function": {"name": "f", "parameters": {"anyOf": [{"required": [1]}]}}}]}, "anyOf[0].required"),
        ({"tools": [{"function": {"name": "f", "parameters": json.loads('{"items":' * 40 + "{}" + "}" * 40)}}]},
         "nested more than"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}]},
         "messages[0].tool_calls[0].function.arguments"),
    ],
)  # fmt: skip
async def test_what_is_refused(body: Json, field: str) -> None:
    async with house(**PARSERS) as h:
        answer = await h.post(CHAT, ASKED | body)
        assert answer.status_code == 400
        assert field in answer.json()["message"]
        assert not h.requests()


KEYWORDS = (
    "type",
    "function",
    "name",
    "parameters",
    "properties",
    "items",
    "anyOf",
    "required",
    "enum",
    "strict",
    "$defs",
)
ANYTHING: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["function", "object", "int"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=5),
    max_leaves=20,
)


@given(st.lists(st.fixed_dictionaries({}, optional={"type": st.just("function"), "function": st.fixed_dictionaries(
    {"name": st.text(min_size=1)}, optional={"parameters": ANYTHING, "strict": ANYTHING})})), ANYTHING)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_tools_are_taken_or_refused(tools: list[Json], choice: Any) -> None:
    with suppress(BadRequest):
        functions = check_tools(tools)
        assert [function.name for function in functions.values()] == [tool["function"]["name"] for tool in tools]
        assert set(choose(functions, choice, True).functions) <= set(functions)


async def test_tools_without_a_parser_are_refused() -> None:
    async with house() as h:
        answer = await h.post(CHAT, ASKED)
        assert answer.status_code == 400
        assert "--tool-call-parser" in answer.json()["message"]
        assert (await h.http.get("/model_info")).json()["tool_call_parser"] is None
    async with house(**PARSERS) as h:
        told: Mapping[str, object] = (await h.http.get("/model_info")).json()
        assert (told["tool_call_parser"], told["reasoning_parser"]) == ("hermes", "qwen3")


async def test_the_official_client() -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]
    tool: ChatCompletionToolParam = {"type": "function", "function": TOOL["function"]}

    async with (
        house(fake_engine(says(SAID)), **PARSERS) as h,
        on_a_port(h.app) as address,
        openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client,
    ):
        answer = await client.chat.completions.create(model=MODEL, messages=messages, tools=[tool])
        whole = answer.choices[0]
        assert (whole.finish_reason, whole.message.content) == ("tool_calls", "Let me see.")
        assert answer.usage is not None and answer.usage.completion_tokens_details is not None
        async with client.chat.completions.stream(model=MODEL, messages=messages, tools=[tool]) as stream:
            streamed = (await stream.get_final_completion()).choices[0]
        for choice in (whole, streamed):
            calls = [call for call in choice.message.tool_calls or () if call.type == "function"]
            arguments = [json.loads(call.function.arguments)["city"] for call in calls]
            assert arguments == ["Paris", "Åland </tool_call>"]
            assert [call.function.name for call in calls] == ["get_weather"] * 2
        assert (streamed.finish_reason, streamed.message.content) == ("tool_calls", "Let me see.")
        await client.chat.completions.create(
            model=MODEL,
            messages=[
                *messages,
                whole.message.model_dump(include={"role", "content", "tool_calls"}),  # type: ignore[list-item]  # as agents send it back
                {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            ],
            tools=[tool],
        )
        told = TOKENIZER.decode(unpack(h.requests()[-1].tokens))
        assert told.endswith('{"city": "Åland </tool_call>"}</tool_call>\ntool: rain\nassistant: ')
