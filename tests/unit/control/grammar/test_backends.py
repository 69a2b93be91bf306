"""Every backend, judged by the same cases: it serves a grammar rightly, or refuses it."""

from functools import cache

import pytest

from stemma.control.grammar.backend import BACKENDS
from stemma.control.grammar.matcher import Backend, Compiled
from tests.unit.control.grammar.cases import CASES, STOP, Case, accepts, allowed, encode, vocabulary


@cache
def backend(name: str) -> Backend:
    return BACKENDS[name](vocabulary())


def compiled(name: str, case: Case) -> Compiled:
    return backend(name).compile(case.grammar) or backend(name).load(case.grammar, backend(name).prepare(case.grammar))


EVERY = [pytest.param(name, case, id=f"{name}-{case.name}") for name in BACKENDS.names() for case in CASES]


@pytest.mark.parametrize(("name", "case"), EVERY)
def test_a_grammar_accepts_what_it_should(name: str, case: Case) -> None:
    grammar = compiled(name, case)
    for text in case.right:
        assert accepts(grammar.matcher(), text), text
    for text in case.wrong:
        assert not accepts(grammar.matcher(), text), text


@pytest.mark.parametrize(("name", "case"), EVERY)
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
