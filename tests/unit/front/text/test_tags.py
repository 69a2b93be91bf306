"""Every message that a structural tag of ours allows is read back as what was meant by it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemma.core.types.grammar import Grammar
from stemma.front.service.message import MessageForm, MessageReader
from stemma.front.text.formats import CALLS, THOUGHTS
from stemma.front.text.tags import Calls, Thoughts, message_grammar
from tests.unit.front.vocabularies import vocabularies

HERMES, QWEN3 = CALLS["hermes"], THOUGHTS["qwen3"]
PIECES = st.sampled_from(
    ["a", "<", "<think>", "</think>", "<tool_call>", "</tool_call>", "{", '"', "\n", " ", "}", "é"]
)
TEXT = st.lists(PIECES, max_size=8).map("".join)
ANSWER = json.dumps({"a": "b <tool_call>{}</tool_call>"})
OLD = {
    "type": "structural_tag",
    "triggers": ["<f"],
    "structures": [{"begin": "<f>", "schema": True, "end": "!"}],
}
OLD_MEANT = {
    "type": "triggered_tags",
    "triggers": ["<f"],
    "tags": [{"type": "tag", "begin": "<f>", "content": {"type": "json_schema", "json_schema": True}, "end": "!"}],
    "at_least_one": False,
}
TOOLS = ("f", 'g"\n', "Ö")


class Sampler:
    """Draws a text that a format allows, and notes the parts that mean something."""

    def __init__(self, draw: Any):
        self._draw = draw
        self.calls: list[tuple[str, str]] = []
        self.thought = ""

    def text(self, form: Any) -> str:
        match form["type"]:
            case "const_string":
                return str(form["value"])
            case "json_schema":
                return json.dumps(self._draw(st.sampled_from(form["json_schema"]["enum"])))
            case "sequence":
                return "".join([self.text(each) for each in form["elements"]])
            case "or":
                return self.text(self._draw(st.sampled_from(form["elements"])))
            case "tag":
                return self.tag(form)
            case "any_text":
                return self.free(form.get("excludes", []))
            case "tags_with_separator":
                most = 1 if form["stop_after_first"] else 3
                tags = self._draw(st.lists(st.sampled_from(form["tags"]), min_size=1, max_size=most))
                return str(form["separator"]).join([self.tag(tag) for tag in tags])
            case "triggered_tags":
                tags = self._draw(
                    st.lists(st.sampled_from(form["tags"]), max_size=1 if form["stop_after_first"] else 3)
                )
                texts = [self.free(form["triggers"]) + self.tag(tag) for tag in tags]
                return "".join([*texts, "" if form["stop_after_first"] and tags else self.free(form["triggers"])])
        raise AssertionError(form)

    def tag(self, form: Any) -> str:
        content = self.text(form["content"]) if form["content"]["type"] != "any_text" else self.free(
            [form["end"], *form["content"].get("excludes", [])]
        )  # fmt: skip
        if form["content"]["type"] == "json_schema":
            named = json.loads(form["begin"].removeprefix("<tool_call>\n") + "0}")["name"]
            self.calls.append((named, content))
        else:
            self.thought = content
        return str(form["begin"]) + content + str(form["end"])

    def free(self, excluded: list[str]) -> str:
        text = self._draw(TEXT)
        while found := [each for each in excluded if each in text]:
            text = text.replace(found[0], "")
        return str(text)


def calls_of(must: bool, many: bool) -> Calls:
    schema = {"enum": [{}, {"x": "</tool_call>"}, {"y": [1, {"name": "f"}]}]}
    return Calls(format=HERMES, schemas=dict.fromkeys(TOOLS, schema), must=must, many=many)


def read(text: str, is_open: bool, many: bool, has_calls: bool = True) -> tuple[str, str, list[tuple[str, str]]]:
    form = MessageForm(
        tokenizer=vocabularies()["llama"],
        thoughts=QWEN3,
        is_thinking=is_open,
        calls=HERMES if has_calls else None,
        tools=TOOLS if has_calls else (),
        many=many,
    )
    parts = MessageReader(form).read(text, (), is_end=True)
    calls: list[tuple[str, str]] = []
    for part in parts:
        if part.kind == "call":
            calls.append((part.text, ""))
        elif part.kind == "arguments":
            calls[-1] = (calls[-1][0], calls[-1][1] + part.text)
    said = {kind: "".join(part.text for part in parts if part.kind == kind) for kind in ("reasoning", "content")}
    return said["reasoning"], said["content"], calls


def format_of(grammar: Grammar | None) -> Any:
    assert grammar is not None and grammar.kind == "structural_tag"
    return json.loads(grammar.source)["format"]


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_forced_calls_are_read_as_they_were_written(data: st.DataObject) -> None:
    is_open, many = data.draw(st.booleans()), data.draw(st.booleans())
    thoughts = data.draw(st.sampled_from([None, Thoughts(QWEN3, is_open)]))
    sampler = Sampler(data.draw)
    text = sampler.text(format_of(message_grammar(None, calls_of(True, many), thoughts)))
    thought, content, calls = read(text, is_open and thoughts is not None, many)
    assert calls == sampler.calls and len(calls) >= 1
    assert len(calls) == 1 or many
    assert content == ""
    if not sampler.thought.lstrip().startswith("<think>"):  # an open thought may be opened again: nobody's
        assert thought.strip() == sampler.thought.strip()


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_content_or_calls(data: st.DataObject) -> None:
    is_open, many = data.draw(st.booleans()), data.draw(st.booleans())
    content = Grammar("json_schema", json.dumps({"enum": [json.loads(ANSWER)]}))
    sampler = Sampler(data.draw)
    text = sampler.text(format_of(message_grammar(content, calls_of(False, many), Thoughts(QWEN3, is_open))))
    _, said, calls = read(text, is_open, many)
    assert calls == sampler.calls
    assert said == ("" if calls else ANSWER)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_calls_in_free_text_are_those_that_were_written(data: st.DataObject) -> None:
    is_open, many = data.draw(st.booleans()), data.draw(st.booleans())
    sampler = Sampler(data.draw)
    text = sampler.text(format_of(message_grammar(None, calls_of(False, many), Thoughts(QWEN3, is_open))))
    assert read(text, is_open, many)[2] == sampler.calls


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_thoughts_come_before_content(data: st.DataObject) -> None:
    is_open = data.draw(st.booleans())
    content = Grammar("json_schema", json.dumps({"enum": [json.loads(ANSWER)]}))
    text = Sampler(data.draw).text(format_of(message_grammar(content, None, Thoughts(QWEN3, is_open))))
    assert read(text, is_open, True, has_calls=False)[1] == ANSWER


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        (Grammar("regex", "a+"), {"type": "regex", "pattern": "a+"}),
        (Grammar("ebnf", 'root ::= "a"'), {"type": "grammar", "grammar": 'root ::= "a"'}),
        (Grammar("json_schema", '{"b": 1, "a": 2}'), {"type": "json_schema", "json_schema": {"b": 1, "a": 2}}),
        (Grammar("structural_tag", '{"type": "structural_tag", "format": {"type": "any_text"}}'), {"type": "any_text"}),
        (Grammar("structural_tag", json.dumps(OLD)), OLD_MEANT),
    ],
)  # fmt: skip
def test_every_kind_of_content_stands_behind_a_thought(content: Grammar, meant: object) -> None:
    assert message_grammar(content, None, None) == content
    form = format_of(message_grammar(content, None, Thoughts(QWEN3, True)))
    assert form["elements"][-1] == meant


def test_what_is_free_has_no_grammar() -> None:
    assert message_grammar(None, None, Thoughts(QWEN3, True)) is None
