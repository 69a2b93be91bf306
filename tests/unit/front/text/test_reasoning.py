"""Thoughts and answers: told apart, and that it never depends on how the answer was divided."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemma.front.text.formats import THOUGHTS
from stemma.front.text.reasoning import ThoughtParser


def read(pieces: Iterable[str], is_open: bool = False, call: str | None = None) -> tuple[str, str]:
    """Thought and answer."""
    parser = ThoughtParser(THOUGHTS["qwen3"], is_open, call)
    parts = [part for piece in pieces for part in parser.add(piece)] + parser.finish()
    kinds = [part.kind for part in parts]
    assert kinds == sorted(kinds, reverse=True), "an answer comes after its thought"
    assert all(part.text for part in parts)
    return tuple("".join(part.text for part in parts if part.kind == kind) for kind in ("reasoning", "content"))  # type: ignore[return-value]  # two of them


@pytest.mark.parametrize(
    ("text", "is_open", "call", "expected"),
    [
        ("<think>\nWell.\n</think>\n\nHi ", False, None, ("Well.", "Hi ")),
        ("\n<think>a</think>b", False, None, ("a", "b")),
        ("Well.\n</think>\n\nHi", True, None, ("Well.", "Hi")),
        ("<think>Well.</think>Hi", True, None, ("Well.", "Hi")),
        ("<think>\n\n</think>\n\nHi", False, None, ("", "Hi")),
        ("<think>cut off </thin", False, None, ("cut off </thin", "")),
        ("cut off", True, None, ("cut off", "")),
        (" Hi", False, None, ("", " Hi")),
        (" " * 65 + "<think>a", False, None, ("", " " * 65 + "<think>a")),
        ("  ", False, None, ("", "  ")),
        ("<thi", False, None, ("", "<thi")),
        ("<this>", False, None, ("", "<this>")),
        ("no <think>b</think>", False, None, ("", "no <think>b</think>")),
        ("<think>a<think></think>b</think>", False, None, ("a<think>", "b</think>")),
        ("<think>a <tool_call>b", False, "<tool_call>", ("a", "<tool_call>b")),
        ("<think>a <tool_call>b</think>c", False, None, ("a <tool_call>b", "c")),
        ("", True, None, ("", "")),
    ],
)  # fmt: skip
def test_what_is_told(text: str, is_open: bool, call: str | None, expected: tuple[str, str]) -> None:
    assert read([text], is_open, call) == expected
    assert read(text, is_open, call) == expected


def test_thoughts_are_told_while_they_are_thought() -> None:
    parser = ThoughtParser(THOUGHTS["qwen3"], False)
    said = [parser.add(piece) for piece in ("<thi", "nk>\n", "one ", "< two\n", "</th", "ink>\n", "\nHi")]
    assert [[(part.kind, part.text) for part in parts] for parts in said] == [
        [], [], [("reasoning", "one")], [("reasoning", " < two")], [], [], [("content", "Hi")],
    ]  # fmt: skip


JUNK = st.lists(st.sampled_from([" " * 33, *"ab \n<>/t日", "<think>", "</think>", "<tool_call>", "</thi"]), max_size=20)


@given(JUNK.map("".join), st.lists(st.integers(0, 100), max_size=8), st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_every_split_means_the_same(text: str, cuts: list[int], is_open: bool, has_tools: bool) -> None:
    call = "<tool_call>" if has_tools else None
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    pieces = [text[begin:end] for begin, end in pairwise(places)]
    assert read(pieces, is_open, call) == read(text, is_open, call) == read([text], is_open, call)
