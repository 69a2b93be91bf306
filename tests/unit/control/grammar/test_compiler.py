"""Compiling beside the loop: nothing blocks, everything is remembered, whatever fails is told."""

import os
import threading
import time
from array import array
from pathlib import Path

import numpy as np
import psutil
import pytest

from stemma.control.grammar import matcher
from stemma.control.grammar.child import NICE
from stemma.control.grammar.compiler import LARGE, Compilation, Compiler
from stemma.control.grammar.matcher import Vocabulary
from stemma.control.spelling.tokens import Tokens, read_tokens
from stemma.core.base.errors import Bug, CheckpointError, GrammarError
from stemma.core.config.embedded import embedded_model_path
from stemma.core.types.grammar import Grammar


class Bell:
    """Waits for a compilation as the loop would."""

    def __init__(self, backend: str = "llguidance"):
        self.rung = threading.Event()
        vocabulary = Vocabulary.from_folder(embedded_model_path(), 2048, (2043,))
        self.compiler = Compiler(vocabulary, backend, 10, self.rung.set)

    def wait(self, grammar: Grammar) -> Compilation:
        found = self.compiler.start(grammar)
        while not found.ready:
            assert self.rung.wait(30)
            self.rung.clear()
        return found


def test_a_grammar_becomes_ready_and_is_remembered() -> None:
    bell = Bell()
    grammar = Grammar("regex", "a|b")
    found = bell.wait(grammar)
    words = np.zeros(64, np.uint32)
    matcher = found.result().matcher()
    matcher.fill_mask(words)
    assert sum(int(word).bit_count() for word in words) == 2
    assert bell.compiler.start(grammar) is found
    bell.compiler.close()


def test_who_compiles_yields_to_who_computes() -> None:
    """One thread and one process, both niced: beside a compile others keep all but the share of one such thread."""
    bell = Bell("chain")
    before = set(psutil.Process().children())
    long = "root ::= t0\n" + "".join(f't{at} ::= "a" t{at + 1} "b"\n' for at in range(20000)) + 't20000 ::= "x"'
    bell.compiler.start(Grammar("ebnf", long))
    threads = [thread for thread in threading.enumerate() if thread.name == "grammar"]
    assert len(threads) == 1
    found: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while not found and time.monotonic() < deadline:
        found = [child for child in psutil.Process().children() if child not in before and child.nice() == NICE]
    assert len(found) == 1
    assert os.getpriority(os.PRIO_PROCESS, threads[0].native_id or 0) == NICE
    found[0].kill()
    bell.compiler.close()


@pytest.mark.parametrize("size", [2048, 6000])
def test_what_is_large_is_read_before_anybody_asks_and_once(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody is served: a library takes in a large vocabulary in one call, which stops every row."""
    read: list[int] = []

    def counted(source: bytes, size: int) -> Tokens:
        read.append(size)
        return read_tokens(source, size)

    monkeypatch.setattr(matcher, "read_tokens", counted)
    rung = threading.Event()
    compiler = Compiler(Vocabulary.from_folder(embedded_model_path(), size, (2043,)), "chain", 10, rung.set)
    compiler.prepare()
    assert rung.wait(30 if size > LARGE else 0.2) == bool(read) == (size > LARGE)
    for source in ("a|b", "c"):
        rung.clear()
        found = compiler.start(Grammar("regex", source))
        assert rung.wait(30)
        found.result().matcher()
    assert compiler.speller.spell(array("i"), False, b'{"name": ', 9).tokens
    assert read == [size]
    compiler.close()


def test_a_wrong_grammar_says_why() -> None:
    bell = Bell()
    with pytest.raises(GrammarError, match="uniqueItems"):
        bell.wait(Grammar("json_schema", '{"type": "array", "uniqueItems": true}')).result()
    with pytest.raises(GrammarError, match="JSON"):
        bell.wait(Grammar("json_schema", '{"type": ')).result()
    bell.compiler.close()


def test_nobody_asks_too_early() -> None:
    with pytest.raises(Bug):
        Compilation().result()


def test_a_missing_tokenizer_hurts_each_grammar_and_not_the_thread() -> None:
    rung = threading.Event()
    compiler = Compiler(Vocabulary("no tokenizer", 10, (0,)), "llguidance", 10, rung.set)
    for source in ("a", "b"):
        found = compiler.start(Grammar("regex", source))
        assert rung.wait(30)
        rung.clear()
        with pytest.raises(GrammarError, match="llguidance failed"):
            found.result()
    compiler.close()


def test_no_folder_no_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        Vocabulary.from_folder(tmp_path, 10, (0,))
