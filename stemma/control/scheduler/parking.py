"""Where requests wait for their grammars, while others run."""

from collections.abc import Iterator
from collections.abc import Sequence as Many
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stemma.control.grammar.forced import Speller
from stemma.control.grammar.matcher import Compiled, Matcher
from stemma.control.scheduler.constraint import Constraint
from stemma.control.scheduler.masks import Draw, masks_of
from stemma.control.scheduler.sequence import Sequence, State
from stemma.core.base.errors import BadRequest
from stemma.core.types.grammar import Grammar
from stemma.core.types.step import Masks


class Compilation(Protocol):
    """A grammar on its way."""

    @property
    def ready(self) -> bool: ...

    def result(self) -> Compiled:
        """Raises GrammarError."""


class Compiler(Protocol):
    """What turns grammars into matchers, beside the loop."""

    @property
    def speller(self) -> Speller:
        """At hand once a grammar is ready."""

    def prepare(self) -> None:
        """As of a grammar.compiler.Compiler. Never blocks."""

    def start(self, grammar: Grammar) -> Compilation:
        """Never blocks."""

    def fill_masks(self, matchers: Many[Matcher], words_NW: NDArray[np.uint32]) -> None:
        """As of a grammar.matcher.Backend."""

    def close(self) -> None: ...


class Parking:
    """Those whose grammar is being compiled. Owned by the Scheduler.

    Without `jumps` nothing is ever given without being drawn.
    """

    def __init__(
        self,
        compiler: Compiler,
        jumps: bool,
        vocab_size: int,
        eos: tuple[int, ...],
        backend: str = "",
    ):
        self._compiler = compiler
        self._jumps = jumps
        self._backend = backend
        self._eos = tuple(id for id in eos if id < vocab_size)
        self._vocab_size = vocab_size
        self._parked: dict[Sequence, Compilation] = {}

    def __len__(self) -> int:
        return len(self._parked)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._parked)

    def prepare(self) -> None:
        self._compiler.prepare()

    def enter(self, sequence: Sequence, grammar: Grammar) -> None:
        sequence.state = State.PARKED
        self._parked[sequence] = self._compiler.start(grammar)

    def leave(self, sequence: Sequence) -> None:
        del self._parked[sequence]

    def ready(self) -> list[Sequence]:
        """Who need wait no longer, in the order of their arrival."""
        return [sequence for sequence, compilation in self._parked.items() if compilation.ready]

    def masks(self, draws: Many[Draw]) -> Masks:
        return masks_of(draws, -(-self._vocab_size // 32), self._compiler.fill_masks)

    def close(self) -> None:
        self._compiler.close()

    def constrain(self, sequence: Sequence) -> None:
        """Let one who is ready go, held to its grammar. Raises GrammarError, BadRequest."""
        compiled = self._parked.pop(sequence).result()
        speller = self._compiler.speller if self._jumps else None
        ends = tuple(id for id in sequence.stop_ids if id < self._vocab_size)
        constraint = Constraint(compiled, speller, ends, self._eos, self._backend)
        if not all(constraint.accept(token, at) for at, token in enumerate(sequence.tokens[sequence.prompt_len :])):
            raise BadRequest("the output that came with the request does not match its grammar", "output")
        sequence.constraint = constraint
        sequence.state = State.WAITING
        sequence.begin_answer()
