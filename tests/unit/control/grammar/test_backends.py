"""Every backend, judged by the same cases: it serves a grammar rightly, or refuses it as its page says."""

from functools import cache

import pytest

from stemma.control.grammar.backend import BACKENDS
from stemma.control.grammar.matcher import Backend, Compiled
from stemma.core.base.errors import GrammarError
from tests.unit.control.grammar.cases import CASES, STOP, Case, accepts, allowed, encode, vocabulary

# As docs/how/structured-output.md lists them: what is refused, and where outlines means other letters.
REFUSED = {
    "xgrammar": ("strings", "parts"),
    "outlines": ("strings", *(case.name for case in CASES if case.grammar.kind in ("ebnf", "structural_tag"))),
}
UNLIKE = {"outlines": ("letters", "ascii")}


@cache
def backend(name: str) -> Backend:
    try:
        maker = BACKENDS[name]
    except ImportError as error:
        pytest.skip(f"{name} is not installed: {error}")
    return maker(vocabulary())


def compiled(name: str, case: Case) -> Compiled:
    found = backend(name)
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
