"""Tool calls: what is told, and that it never depends on how the answer was divided."""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemma.front.text.calls import CallParser
from stemma.front.text.formats import CALLS
from stemma.front.text.markers import Part

TOOLS = ("get_weather", "add", "größe")

Told = tuple[str, list[tuple[str, str]]]  # content, then name and arguments of each call


def read(pieces: Iterable[str], tools: Sequence[str] = TOOLS, many: bool = True) -> list[Part]:
    parser = CallParser(CALLS["hermes"], tools, many)
    parts = [part for piece in pieces for part in parser.add(piece)]
    return parts + parser.finish()


def joined(parts: Iterable[Part]) -> Told:
    content, calls = "", list[tuple[str, str]]()
    for part in parts:
        if part.kind == "content":
            content += part.text
        elif part.kind == "call":
            assert part.call == len(calls)
            calls.append((part.text, ""))
        else:
            assert (part.kind, part.call) == ("arguments", len(calls) - 1)
            calls[-1] = (calls[-1][0], calls[-1][1] + part.text)
    return content, calls


def told(text: str, many: bool = True) -> Told:
    whole = joined(read([text], many=many))
    assert joined(read(text, many=many)) == whole
    return whole


def call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


PARIS = call("get_weather", '{"city": "Paris"}')
ONE = ("get_weather", '{"city": "Paris"}')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, <b> you", ("Hello, <b> you", [])),
        (PARIS, ("", [ONE])),
        ("Let me see.\n\n" + PARIS + "\n", ("Let me see.", [ONE])),
        (PARIS + "\n" + call("add", "{}") + "\n", ("", [ONE, ("add", "{}")])),
        (PARIS + PARIS + " Done. ", ("Done. ", [ONE, ONE])),
        ('<tool_call>{"name":"add","parameters":{"a":[1,-2.5e3,{"b":null}]}}</tool_call>',
         ("", [("add", '{"a":[1,-2.5e3,{"b":null}]}')])),
        ('<tool_call>{"arguments": {"a": 1}, "name": "add"}</tool_call>', ("", [("add", '{"a": 1}')])),
        ('<tool_call>{"id": 7, "name": "add", "arguments": {}, "x": [1]}</tool_call>', ("", [("add", "{}")])),
        ('<tool_call>{"name": "add"}</tool_call>', ("", [("add", "{}")])),
        ('<tool_call>{"name": "gr\\u00f6\\u00dfe", "arguments": {}}</tool_call>', ("", [("größe", "{}")])),
        (call("add", '{"a": "</tool_call><tool_call>{\\"} 日本😀"}'),
         ("", [("add", '{"a": "</tool_call><tool_call>{\\"} 日本😀"}')])),
        (call("add", '{"a": "two\nlines"}'), ("", [("add", '{"a": "two\\u000alines"}')])),
        (PARIS + " " * 99 + "ok", ("ok", [ONE])),
        ("ok" + " " * 99 + PARIS, ("ok" + " " * 35, [ONE])),
        # the end marker, or the last brace, or both are missing
        (PARIS.removesuffix("\n</tool_call>"), ("", [ONE])),
        (PARIS.removesuffix("}\n</tool_call>"), ("", [ONE])),
        (PARIS.replace("}}", "}"), ("", [ONE])),
        (PARIS.removesuffix("</tool_call>") + PARIS, ("", [ONE, ONE])),
        (PARIS.removesuffix("</tool_call>") + "and then", ("and then", [ONE])),
        # no call: the text as it was
        ("a <tool_call>\nnot JSON</tool_call> b", ("a <tool_call>\nnot JSON</tool_call> b", [])),
        ("<tool_call>{'name': 'add'}</tool_call>", ("<tool_call>{'name': 'add'}</tool_call>", [])),
        (call("add", '"a"'), (call("add", '"a"'), [])),
        ('<tool_call>{"arguments": {}}</tool_call>', ('<tool_call>{"arguments": {}}</tool_call>', [])),
        ('<tool_call>{"name": 5}</tool_call>', ('<tool_call>{"name": 5}</tool_call>', [])),
        ('<tool_call>{"name": "ad', ('<tool_call>{"name": "ad', [])),
        ("x <tool_call>" + PARIS, ("x <tool_call>", [ONE])),
        ("so <tool_cal", ("so <tool_cal", [])),
        # cut off, or no JSON any more, when the call was told already
        ('<tool_call>{"name": "add", "arguments": {"a": "b', ("", [("add", '{"a": "b')])),
        ('<tool_call>{"name": "add", "arguments": {"a": 12', ("", [("add", '{"a": 12')])),
        ('<tool_call>{"name": "add", "arguments": {"a": tru, "b', ("tru, \"b", [("add", '{"a": ')])),
        # a tool that there is not
        (call("delete", '{"a": 1}') + PARIS, ("", [ONE])),
        (call("delete", "{oops"), (call("delete", "{oops"), [])),
    ],
)  # fmt: skip
def test_what_is_told(text: str, expected: Told) -> None:
    assert told(text) == expected


def test_one_call_is_wanted() -> None:
    assert told(PARIS + "\n" + call("add", "{}") + " so", many=False) == ("so", [ONE])


def test_arguments_are_told_while_they_are_written() -> None:
    parser = CallParser(CALLS["qwen"], TOOLS)
    assert parser.add('<tool_call>{"name": "add", "argum') == []
    assert parser.add('ents": {"a": "x') == [Part("call", "add", 0), Part("arguments", '{"a": "x', 0)]
    assert parser.add("y") == [Part("arguments", "y", 0)]
    assert parser.add('", "b": 1') == [Part("arguments", '", "b": ', 0)]  # perhaps 12
    assert parser.add("}}</tool") == [Part("arguments", "1}", 0)]
    assert parser.add("_call>") == parser.finish() == []


def test_nesting_has_an_end() -> None:
    text = call("add", '{"a": ' + "[" * 10_000)
    content, calls = told(text)
    assert calls[0][1].count("[") == 199
    assert content.startswith("[[[")


MARKS = ("<tool_call>", "</tool_call>", '"name"', '"arguments"', '"add"', '{"name": "add", "arguments": {', "\\u00e9")
SIGNS = (*'{}[]":,\\ \n\tabu10.-e<>/é😀', " " * 33, "true", "null")
JUNK = st.lists(st.sampled_from([*MARKS, *SIGNS]), max_size=60).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])) | JUNK,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(JUNK, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
ARGUMENTS = st.dictionaries(st.text(max_size=5) | JUNK, JSON, max_size=4)
SAID = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<"), max_size=20).map(str.strip)


@st.composite
def answers(draw: st.DrawFn) -> tuple[str, Told]:
    """An answer as a model writes it, and what it means by construction."""
    content, calls = draw(SAID), list[tuple[str, str]]()
    text = content
    for name, arguments in draw(st.lists(st.tuples(st.sampled_from(TOOLS), ARGUMENTS), max_size=3)):
        spelled = json.dumps(arguments, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
        blank = draw(st.sampled_from(["", "\n", " "]))
        text += f'{blank}<tool_call>{blank}{{"name": {json.dumps(name)}, "arguments": {spelled}}}{blank}</tool_call>'
        calls.append((name, spelled))
    return text, (content, calls)


def pieces_of(text: str, cuts: Iterable[int]) -> list[str]:
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[begin:end] for begin, end in pairwise(places)]


CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@given(answers(), CUTS, st.integers(0, 10_000))
@settings(max_examples=200, deadline=None)
def test_every_split_of_an_answer_means_the_same(answer: tuple[str, Told], cuts: list[int], end: int) -> None:
    text, expected = answer
    assert joined(read([text])) == expected
    assert joined(read(pieces_of(text, cuts))) == joined(read(text)) == joined(read([text]))
    cut_off = text[: end % (len(text) + 1)]
    assert joined(read(pieces_of(cut_off, cuts))) == joined(read(cut_off)) == joined(read([cut_off]))


@given(st.lists(JUNK | st.just(PARIS), max_size=6).map("".join), CUTS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_every_split_of_junk_means_the_same(text: str, cuts: list[int], many: bool) -> None:
    whole = joined(read([text], many=many))
    assert joined(read(text, many=many)) == joined(read(pieces_of(text, cuts), many=many)) == whole


@given(st.text(st.characters(exclude_categories=["Cs"])) | JUNK, CUTS)
@settings(max_examples=100, deadline=None)
def test_control_characters_are_mended(value: str, cuts: list[int]) -> None:
    spelled = value.replace("\\", "\\\\").replace('"', '\\"')
    _, calls = joined(read(pieces_of(call("add", f'{{"a": "{spelled}"}}'), cuts)))
    assert json.loads(calls[0][1]) == {"a": value}
