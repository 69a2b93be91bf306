"""What a grammar's text may be is checked wherever one is decoded."""

import msgspec
import pytest

from stemma.core.types.grammar import MAX_GRAMMAR_CHARACTERS, Grammar


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("regex", ""),
        ("regex", "a\0b"),
        ("regex", "a" * (MAX_GRAMMAR_CHARACTERS + 1)),
        ("choice", "a"),
    ],
)
def test_what_no_grammar_can_be_is_refused(kind: str, source: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode([kind, source]), type=Grammar)


def test_equal_grammars_are_one_key() -> None:
    same = msgspec.msgpack.decode(msgspec.msgpack.encode(Grammar("regex", "a\n*")), type=Grammar)
    assert {Grammar("regex", "a\n*"): 1}[same] == 1
    assert Grammar("ebnf", "a\n*") != same
