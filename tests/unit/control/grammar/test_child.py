"""What cannot be interrupted can be killed: time and memory of a compile are bounded."""

import json
import time

import pytest

from stemma.control.grammar.backend import BACKENDS
from stemma.control.grammar.child import STACK_BYTES, Child, answer_to
from stemma.control.grammar.matcher import USUAL
from stemma.core.base.errors import GrammarError
from stemma.core.types.grammar import Grammar
from tests.unit.control.grammar.cases import NUMBER, tagged, vocabulary

EBNF = Grammar("ebnf", 'root ::= "a" | "b"')
SLOW = Grammar(
    "ebnf", "root ::= t0\n" + "".join(f't{at} ::= "a" t{at + 1} "b"\n' for at in range(20000)) + 't20000 ::= "x"'
)


def test_it_prepares_one_grammar_after_another_and_says_what_is_wrong() -> None:
    child = Child("chain", 10, vocabulary(), USUAL)
    assert "start" in child.prepare(EBNF)
    with pytest.raises(GrammarError, match="no rule 'root'"):
        child.prepare(Grammar("ebnf", 'rot ::= "a"'))
    with pytest.raises(GrammarError, match=r"cannot be compiled|stands where"):
        child.prepare(Grammar("json_schema", '{"not": {"minLength": {}}, "properties": 3}'))
    tag = tagged({"type": "json_schema", "json_schema": NUMBER | {"not": {"required": ["b"]}}})
    assert "%json" in child.prepare(Grammar("structural_tag", json.dumps(tag)))
    child.close()


def test_what_is_handed_over_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen from the child's end, in this process: what the caller would have to load is refused."""
    monkeypatch.setattr("stemma.control.grammar.child.MOST_BYTES", 5)
    assert answer_to(BACKENDS["chain"](vocabulary(), USUAL), EBNF).is_refusal


def test_one_that_takes_too_long_is_ended_and_the_next_one_served() -> None:
    child = Child("chain", 0.5, vocabulary(), USUAL)
    start = time.monotonic()
    with pytest.raises(GrammarError, match=r"0\.5 s \(--grammar-compile-timeout\)"):
        child.prepare(SLOW)
    assert time.monotonic() - start < 10
    assert "start" in child.prepare(EBNF)
    child.close()


def test_one_that_takes_too_much_memory_is_ended_and_the_next_one_served() -> None:
    """In the library, which ends the process; in our own code, which does not."""
    child = Child("chain", 30, vocabulary(), USUAL)
    child.memory_bytes = STACK_BYTES + (128 << 20)  # the stack counts, too
    enormous = Grammar("json_schema", json.dumps({"enum": [{}] * 250_000, "not": {"const": 1}}))
    many = Grammar("ebnf", "root ::= " + " | ".join(f'"{at}"' for at in range(80_000)))
    for grammar, message in ((enormous, "640.00 MiB of memory"), (many, "too large \\(MemoryError\\)")):
        with pytest.raises(GrammarError, match=message):
            child.prepare(grammar)
        assert "start" in child.prepare(EBNF)
    child.close()
