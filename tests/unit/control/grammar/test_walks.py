"""Whoever follows the mask at random, and comes to an end, has written what an independent reader accepts."""

import json
import re
import time
from random import Random

import pytest
from jsonschema import Draft202012Validator

from stemma.control.grammar.llguidance import RewritingBackend
from stemma.control.grammar.matcher import USUAL, Compiled
from stemma.control.grammar.parts import checked
from stemma.core.base.errors import GrammarError
from stemma.core.types.grammar import Grammar
from tests.unit.control.grammar.cases import STOP, allowed, vocabulary
from tests.unit.control.grammar.random_schemas import schema

BACKEND = RewritingBackend(vocabulary(), USUAL)
TEXTS = vocabulary().tokens.texts
ENDS = [token for token, text in enumerate(TEXTS) if text and set(text) <= set(b'"}],')]
MOST = 150  # tokens


def compiled(grammar: Grammar) -> Compiled:
    return BACKEND.compile(grammar) or BACKEND.load(grammar, BACKEND.prepare(grammar))


def walk(grammar: Compiled, draw: Random) -> str | None:
    """A random answer, hurried towards its end; None when it does not come to one. A mask is never empty."""
    matcher, text = grammar.matcher(), b""
    for step in range(MOST):
        mask = allowed(matcher)
        assert mask, text
        if STOP in mask and (len(mask) == 1 or draw.random() < 0.5):
            return text.decode()
        closing = [token for token in ENDS if token in mask]
        tokens = closing if closing and draw.random() < 0.2 + step / MOST else sorted(mask - {STOP})
        token = draw.choice(tokens)
        assert matcher.accept(token)
        text += TEXTS[token]
    return None


def test_random_schemas() -> None:
    draw, answers = Random(3), 0
    for _ in range(250):
        source = checked(schema(draw))
        try:
            grammar = compiled(Grammar("json_schema", json.dumps(source)))
        except GrammarError:
            continue
        judge = Draft202012Validator(source)
        for _ in range(2):
            text = walk(grammar, draw)
            if text is not None:
                answers += 1
                assert judge.is_valid(json.loads(text)), [source, text]
    assert answers > 150


@pytest.mark.parametrize(
    "pattern",
    [
        "(a|b)*abb",
        r"\d{3}-\d{4}",
        "[^x]{1,5}x",
        "(foo|bar|ba)+!",
        r"\w{1,2}@\w{3}\.(com|org)",
        "(?i:yes|no)",
        ".{4}",
        "é{2}|ß?",
    ],
)
def test_patterns(pattern: str) -> None:
    draw, judge = Random(5), re.compile(pattern)
    grammar = compiled(Grammar("regex", pattern))
    answers = [text for text in (walk(grammar, draw) for _ in range(20)) if text is not None]
    assert answers
    assert all(judge.fullmatch(text) for text in answers), answers


def test_sums() -> None:
    source = 'root ::= sum\nsum ::= one ("+" one){0,3}\none ::= [1-9] [0-9]{0,2} | "(" sum ")"'
    grammar, draw = compiled(Grammar("ebnf", source)), Random(6)
    answers = [text for text in (walk(grammar, draw) for _ in range(40)) if text is not None]
    assert answers
    for text in answers:
        assert re.fullmatch(r"[0-9+()]+", text)
        assert isinstance(eval(text), int)  # sums are Python too


WORD = "abcdefghijkl"
HARD = [
    Grammar("regex", "(a*)*b"),
    Grammar("regex", "(x+x+)+y"),
    Grammar("regex", "(.*a.{200}b.*)"),
    Grammar("regex", "(a|b)*a(a|b){18}"),
    Grammar("regex", "(a{1,500}){1,500}"),
    Grammar("regex", "(" * 5000 + "a" + ")" * 5000),
    Grammar("regex", "|".join(f"word{at}" for at in range(20_000))),
    Grammar("json_schema", "[" * 5000),
    Grammar("json_schema", json.dumps({"enum": [f"value {at}" for at in range(20_000)]})),
    Grammar("json_schema", json.dumps({"type": "array", "minItems": 10**5, "maxItems": 10**6})),
    Grammar("json_schema", json.dumps({"type": "integer", "multipleOf": 999_999_937})),
    Grammar(
        "json_schema",
        json.dumps({"allOf": [{"anyOf": [{"required": [f"{a}{b}"]} for b in "abcd"]} for a in "abcdefghijkl"]}),
    ),
    Grammar("json_schema", json.dumps({"oneOf": [{"required": [f"k{at}"], "minLength": at} for at in range(24)]})),
    Grammar("ebnf", "root ::= " + "(" * 1000 + '"a"' + ")" * 1000),
    Grammar("ebnf", "root ::= t0\n" + "".join(f"t{at} ::= t{at + 1} t{at + 1}\n" for at in range(60)) + 't60 ::= "x"'),
    Grammar("ebnf", 'root ::= "a" root "b" | root root | ""'),
]


@pytest.mark.parametrize("grammar", HARD, ids=lambda grammar: f"{grammar.kind}-{grammar.source[:20]}")
def test_hard_grammars_cost_little_or_are_refused(grammar: Grammar) -> None:
    start = time.monotonic()
    try:
        walk(compiled(grammar), Random(1))
    except GrammarError as error:
        assert grammar.kind in str(error) or "too costly" in str(error)
    assert time.monotonic() - start < 20
