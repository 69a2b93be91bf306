"""Grammars are compiled beside the loop, which never waits for one."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from stemma.control.grammar.backend import BACKENDS
from stemma.control.grammar.child import NICE, Child, start_deep
from stemma.control.grammar.forced import Speller
from stemma.control.grammar.matcher import USUAL, Backend, Compiled, Matcher, Vocabulary, Whitespace
from stemma.core.base.errors import Bug, GrammarError, StemmaError
from stemma.core.types.grammar import Grammar

CACHED = 256  # grammars, the failed ones too
LARGE = 5_000  # tokens; to take more of them in, libraries stop all threads for longer than a step


@dataclass(slots=True, eq=False)
class Compilation:
    """One grammar on its way. Written by the worker once, read by everybody who asked for it."""

    outcome: Compiled | GrammarError | None = None

    @property
    def ready(self) -> bool:
        return self.outcome is not None

    def result(self) -> Compiled:
        """Raises GrammarError, which says why there is none."""
        if self.outcome is None:
            raise Bug("a grammar was asked for before it was ready")
        if isinstance(self.outcome, GrammarError):
            raise self.outcome
        return self.outcome


class Compiler:
    """Compiles grammars for one vocabulary on one thread, and remembers them.

    `wake` is called on that thread whenever a compilation becomes ready. The library and its tokenizer are loaded by
    the first grammar, on that thread too, or by `prepare`.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        backend: str,
        seconds: float,
        wake: Callable[[], None],
        whitespace: Whitespace = USUAL,
    ):
        self._vocabulary = vocabulary
        self._settings = vocabulary, whitespace
        self._name = backend
        self._backend: Backend | None = None
        self._child = Child(backend, seconds, *self._settings)
        self._wake = wake
        self._known: OrderedDict[Grammar, Compilation] = OrderedDict()
        self._line: SimpleQueue[tuple[Grammar, Compilation] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    @cached_property
    def speller(self) -> Speller:
        """Of what grammars force; at hand once one is ready."""
        return Speller(self._vocabulary.tokens)

    def prepare(self) -> None:
        """Take a large vocabulary in while nobody is served: it stops all threads for longer than a step."""
        if self._vocabulary.size > LARGE:
            self.start(Grammar("regex", "a"))

    def start(self, grammar: Grammar) -> Compilation:
        """Never blocks. Called by one thread only."""
        known = self._known.get(grammar)
        if known is None:
            known = self._known[grammar] = Compilation()
            self._line.put((grammar, known))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="grammar", daemon=True)
                start_deep(self._thread)
        self._known.move_to_end(grammar)
        if len(self._known) > CACHED:
            self._known.popitem(last=False)
        return known

    def fill_masks(self, matchers: Sequence[Matcher], words_NW: NDArray[np.uint32]) -> None:
        """What may come next, for each of some matchers that were compiled here."""
        assert self._backend is not None, "masks were asked for before any grammar was compiled"
        self._backend.fill_masks(matchers, words_NW)

    def close(self) -> None:
        """Ends the worker after the grammar that it is at."""
        if self._thread is not None:
            self._line.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)  # on Linux: of this thread alone
        while (job := self._line.get()) is not None:
            grammar, compilation = job
            try:
                compilation.outcome = self._compile(grammar)
            except GrammarError as error:
                compilation.outcome = error
            except Exception as error:  # whatever a library may raise hurts this grammar only
                why = str(error) if isinstance(error, StemmaError) else repr(error)
                compilation.outcome = GrammarError(f"{grammar.kind}: {self._name} failed: {why}")
            self._wake()
        self._child.close()

    def _compile(self, grammar: Grammar) -> Compiled:
        if self._backend is None:
            self.speller  # noqa: B018  # read here, not in the loop
            self._backend = BACKENDS[self._name](*self._settings)
        return self._backend.compile(grammar) or self._backend.load(grammar, self._child.prepare(grammar))
