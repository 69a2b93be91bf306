"""What one answer must match, and how far it has come: masks before tokens are drawn, jumps after them."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from itertools import takewhile
from math import inf

import msgspec
import numpy as np
from numpy.typing import NDArray

from stemma.control.grammar.forced import Speller
from stemma.control.grammar.matcher import Compiled
from stemma.core.base.errors import GrammarError
from stemma.core.types.output import Finish, Logprob
from stemma.core.types.sampling import LogprobSpec

FORCED = 2  # bytes that are worth a look at how they are spelled


class Constraint:
    """A grammar after all absorbed tokens of one answer. Owned by its Sequence.

    Tokens alone move it, so an answer may begin with what another engine drew. `ends` are the ids that end
    this answer, `eos` those that end any answer of the model.
    """

    def __init__(
        self,
        compiled: Compiled,
        speller: Speller | None,
        ends: tuple[int, ...],
        eos: tuple[int, ...],
        backend: str,
    ):
        self.backend = backend  # its name
        self.verdict: Finish | None = None  # how the answer ends, whatever was drawn
        self.matcher = compiled.matcher()
        self._compiled = compiled
        self._speller = speller  # None: all is drawn, nothing is given
        self._ends = ends
        self._more_ends = [id for id in ends if id not in eos]
        self._never_early = [*eos, *self._more_ends]
        self.ends_otherwise = not ends or bool(self._more_ends)  # than its matcher knows
        self._taken = 0  # tokens of the answer that the matcher has seen
        self._given: array[int] = array("i")  # places in the answer that nobody drew, ascending

    @property
    def is_over(self) -> bool:
        return self.matcher.is_over

    def accept(self, token: int, place: int) -> bool:
        """Go on by the token at a place of the answer, once. False: it should not have come, as the verdict says."""
        if self._taken == place:
            self._taken += 1
            if self.verdict is None and not self._takes(token) and self.verdict is None:
                self.verdict = Finish(reason="error", code=500, detail=f"the grammar does not take token {token} here")
        return self.verdict is None

    def _takes(self, token: int) -> bool:
        try:
            return self.matcher.accept(token)
        except GrammarError as error:
            self.verdict = Finish(reason="error", code=error.status, detail=error.message)
            return False

    def goes_on(self, token: int, place: int) -> bool:
        """Accept a token; whether the next one is drawn as if there were no grammar: nothing ends, nothing is given."""
        if not self.accept(token, place) or self.matcher.is_over:
            return False
        return self._speller is None or len(self.matcher.forced()) < FORCED

    def end(self, words_W: NDArray[np.uint32], may_end: bool) -> None:
        """Put the tokens that end this answer into its matcher's mask, or take them out of it."""
        if not may_end or not self._ends:
            for id in self._never_early:
                words_W[id >> 5] &= ~np.uint32(1 << (id & 31))
        elif self._more_ends and self.matcher.is_complete:
            for id in self._more_ends:
                words_W[id >> 5] |= np.uint32(1 << (id & 31))

    def give_up(self, words_W: NDArray[np.uint32]) -> None:
        """No token may be drawn: the verdict says how it ends. The mask is working memory."""
        try:
            self.matcher.fill_mask(words_W)
        except GrammarError as error:
            self.verdict = Finish(reason="error", code=error.status, detail=error.message)
            return
        if self.matcher.is_complete:
            self.verdict = Finish(reason="stop")
        else:
            text = "the grammar can go on with no token that may be drawn here; is min_new_tokens too large for it?"
            self.verdict = Finish(reason="error", code=400, detail=text)

    def jump(self, known: "array[int]", answer: int, is_new: bool, most: int) -> int:
        """Give what is forced next: put tokens at the end of `known`, at most so many more; returns how many.

        The answer begins at `answer`. `is_new`: nobody was told of the last token, so that it may be replaced.
        Whether a token that ends the answer may come is settled where tokens are drawn: none is given.
        """
        if self._speller is None or most <= 0 or len(forced := self.matcher.forced()) < FORCED:
            return 0
        replaced, tokens = self._speller.spell(known, is_new, forced, most)
        if not tokens or any(token in self._ends for token in tokens):
            return 0
        if replaced:  # come to this place anew
            before, self.matcher = self.matcher, self._compiled.matcher()
            if not all(map(self._takes, [*known[answer:-1], *tokens])):
                self.matcher = before
                return 0
        else:
            tokens = list(takewhile(self._takes, tokens))
        del known[len(known) - replaced :]
        self._given.extend(range(len(known) + replaced - answer, len(known) + len(tokens) - answer))
        known.extend(tokens)
        self._taken = len(known) - answer
        return len(tokens)

    def given(self, output: int) -> int:
        """How many of the first `output` tokens nobody drew."""
        return bisect_left(self._given, output)

    def logprobs(self, answer: Iterable[int], first: int, drawn: Logprob | None, spec: LogprobSpec) -> list[Logprob]:
        """Of tokens from place `first` of the answer on. What is given is certain.

        Of a token that took the place of a drawn one, it is that of the draw: all that follows it was forced.
        """
        given = set(self._given[bisect_left(self._given, first) :])
        found = []
        for at, token in enumerate(answer, first):
            if at not in given and drawn is not None:
                found.append(msgspec.structs.replace(drawn, token=token))
            else:
                chosen = tuple(0.0 if token == id else -inf for id in spec.token_ids)
                found.append(Logprob(token, 0.0, ((token, 0.0),) if spec.top else (), chosen))
        return found
