"""The seam between the engine and the libraries that know grammars.

N matchers, W words of a mask
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stemma.control.spelling.tokens import Tokens, read_tokens, special_tokens
from stemma.core.base.errors import CheckpointError, GrammarError
from stemma.core.types.grammar import Grammar


class Vocabulary(Struct, frozen=True, dict=True):
    """The tokens that grammars are made of.

    `size` is the model's, which may be padded beyond the tokenizer. `stop_ids` end an answer: they are allowed
    where a grammar may end, and nowhere else. Special tokens other than these appear only where a grammar names them.
    """

    path: str  # of tokenizer.json
    size: int
    stop_ids: tuple[int, ...]

    @classmethod
    def from_folder(cls, folder: str | Path, size: int, stop_ids: Sequence[int]) -> "Vocabulary":
        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError(f"there is no {path}, and grammars need it")
        return cls(str(path), size, tuple(stop_ids))

    @cached_property
    def tokens(self) -> Tokens:
        return read_tokens(Path(self.path).read_bytes(), self.size)

    @cached_property
    def special(self) -> dict[str, int]:
        return special_tokens(Path(self.path).read_bytes(), self.size)

    @property
    def words(self) -> int:
        """Of a mask, 32 tokens each."""
        return -(-self.size // 32)


@dataclass(slots=True, frozen=True)
class Whitespace:
    """What may stand between the signs of JSON: what a pattern says, else so many blanks. None: as a backend likes."""

    pattern: str | None = None
    most: int | None = None

    def regex(self, usual: int) -> str:
        if self.pattern is not None:
            return self.pattern
        return rf"[ \n\r\t]{{0,{usual if self.most is None else self.most}}}"


USUAL = Whitespace()


class Matcher(Protocol):
    """How far one answer has come. Owned by its sequence; not for two threads at once."""

    @property
    def is_complete(self) -> bool:
        """Whether the answer may end here; then, and only then, the stop ids are in the mask."""

    @property
    def is_over(self) -> bool:
        """Whether nothing but the end may follow, or it has ended."""

    def fill_mask(self, words_W: NDArray[np.uint32]) -> None:
        """Write all words: bit `t % 32` of word `t // 32` says whether token `t` may come next.

        Raises GrammarError when the grammar proves too costly at this place.
        """

    def accept(self, token: int) -> bool:
        """Go on by one token. False, and nothing has changed: it may not come here.

        Raises GrammarError as `fill_mask` does.
        """

    def forced(self) -> bytes:
        """The text that must come next, whole characters only; empty when there is a choice."""


@dataclass(slots=True, frozen=True)
class Compiled:
    """A grammar ready for any number of answers; `matcher` makes a fresh one, at the beginning of an answer."""

    matcher: Callable[[], Matcher]


class Backend(Protocol):
    """A library that knows grammars, with one vocabulary, which is read by the first grammar."""

    def compile(self, grammar: Grammar) -> Compiled | None:
        """At once, where time and memory are bounded. None: it must be prepared. Raises GrammarError."""
        return None

    def prepare(self, grammar: Grammar) -> str:
        """The part that has no bounds of its own; called in another process. Raises GrammarError."""

    def load(self, grammar: Grammar, prepared: str) -> Compiled:
        """The rest. Raises GrammarError."""

    def fill_masks(self, matchers: Sequence[Matcher], words_NW: NDArray[np.uint32]) -> None:
        """The masks of many of its matchers, a row each; nothing is allowed where `fill_mask` would raise."""
        for matcher, words_W in zip(matchers, words_NW, strict=True):
            try:
                matcher.fill_mask(words_W)
            except GrammarError:
                words_W[:] = 0
