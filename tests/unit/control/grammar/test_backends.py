"""Every backend, judged by the same cases: it serves a grammar rightly, or refuses it as its page says."""

from functools import cache

import pytest

from stemma.control.grammar.backend import BACKENDS
from stemma.control.grammar.matcher import USUAL, Backend, Compiled, Whitespace
from stemma.core.base.errors import GrammarError
from stemma.core.types.grammar import GrammarKind
from tests.unit.control.grammar.cases import CASES, STOP, Case, accepts, allowed, case, encode, tag, tagged, vocabulary

# As docs/how/structured-output.md lists them: what is refused, and where outlines means other letters.
REFUSED = {
    "xgrammar": ("strings", "parts"),
    "outlines": ("strings", *(case.name for case in CASES if case.grammar.kind in ("ebnf", "structural_tag"))),
}
UNLIKE = {"outlines": ("letters", "ascii")}


@cache
def backend(name: str, whitespace: Whitespace = USUAL) -> Backend:
    try:
        maker = BACKENDS[name]
    except ImportError as error:
        pytest.skip(f"{name} is not installed: {error}")
    return maker(vocabulary(), whitespace)


def compiled(name: str, case: Case, whitespace: Whitespace = USUAL) -> Compiled:
    found = backend(name, whitespace)
    return found.compile(case.grammar) or found.load(case.grammar, found.prepare(case.grammar))


EVERY = [(name, case) for name in BACKENDS.names() for case in CASES]
REFUSALS = [
    pytest.param(*each, id=f"{each[0]}-{each[1].name}") for each in EVERY if each[1].name in REFUSED.get(each[0], ())
]
SERVED = [
    pytest.param(name, case, id=f"{name}-{case.name}")
    for name, case in EVERY
    if case.name not in (*REFUSED.get(name, ()), *UNLIKE.get(name, ()))
]


@pytest.mark.parametrize(("name", "case"), SERVED)
def test_a_grammar_accepts_what_it_should(name: str, case: Case) -> None:
    grammar = compiled(name, case)
    for text in case.right:
        assert accepts(grammar.matcher(), text), text
    for text in case.wrong:
        assert not accepts(grammar.matcher(), text), text


@pytest.mark.parametrize(("name", "case"), SERVED)
def test_the_mask_tells_what_is_accepted(name: str, case: Case) -> None:
    grammar = compiled(name, case)
    for text in case.right:
        matcher = grammar.matcher()
        for token in encode(text):
            forced, mask = matcher.forced(), allowed(matcher)
            assert matcher.is_complete == (STOP in mask)
            assert token in mask or forced  # what is forced may be cut into tokens in one way only
            assert not matcher.accept(2041), "a special token that nobody asked for"
            assert matcher.accept(token)
        assert STOP in allowed(matcher)
        assert matcher.accept(STOP)
        assert matcher.is_over


@pytest.mark.parametrize(("name", "case"), REFUSALS)
def test_what_is_not_served_is_refused(name: str, case: Case) -> None:
    with pytest.raises(GrammarError, match=case.grammar.kind):
        compiled(name, case)


PAIR = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {"type": "integer"}}},
    "required": ["a", "b"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_pattern": " *", "lenient": True},  # a client's wish that is none of the server's
}
NOWHERE, ONCE, TWICE, LINES = '{"a":1,"b":[2]}', '{"a": 1, "b": [ 2]}', '{"a":  1,"b":[2]}', '{\n"a":1,\n"b":[2]}'
LONG = '{"a":1,"b":[2' + " " * 40 + "]}"
SPACED = [
    (Whitespace(), [NOWHERE, ONCE, TWICE, LINES], [LONG]),
    (Whitespace(most=0), [NOWHERE], [ONCE, TWICE, LINES, LONG]),
    (Whitespace(most=1), [NOWHERE, ONCE, LINES], [TWICE, LONG]),
    (Whitespace(pattern="\\n?"), [NOWHERE, LINES], [ONCE, TWICE, LONG]),
]


@pytest.mark.parametrize("kind", ["json_schema", "structural_tag"])
@pytest.mark.parametrize(("whitespace", "right", "wrong"), SPACED)
@pytest.mark.parametrize("name", BACKENDS.names())
def test_whitespace_is_what_was_asked_for(
    name: str, whitespace: Whitespace, right: list[str], wrong: list[str], kind: GrammarKind
) -> None:
    if name == "xgrammar" and whitespace.pattern is not None:
        pytest.skip("takes no pattern; `resolve` refuses it")
    grammar, before, after = case("pair", kind, PAIR, [], []), "", ""
    if kind == "structural_tag":
        before, after = "<call>", "</call>"
        pair = {"type": "json_schema", "json_schema": PAIR}
        grammar = case("pair", kind, tagged(tag(before, pair, after)), [], [])
        if name == "outlines" or (name == "xgrammar" and whitespace.most == 0):
            with pytest.raises(GrammarError, match=kind):
                compiled(name, grammar, whitespace)
            return
    found = compiled(name, grammar, whitespace)
    for text in right:
        assert accepts(found.matcher(), before + text + after), text
    for text in wrong:
        unbounded = name == "xgrammar" and whitespace.most is None
        assert accepts(found.matcher(), before + text + after) == (unbounded and text == LONG), text
    for blank in " \n":
        matcher = found.matcher()
        assert all(matcher.accept(token) for token in encode(before + '{"a":'))
        (token,) = encode(blank)
        assert (token in allowed(matcher)) == (whitespace.most != 0 and (blank == "\n" or whitespace.pattern is None))
