"""Spelling texts in byte pairs, in little memory and in no call that stops other threads for long.

Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", 2016.
"""

from array import array
from bisect import bisect
from collections.abc import Callable
from functools import lru_cache
from itertools import groupby, pairwise
from operator import itemgetter
from typing import TypeAlias

import numpy as np
from tokenizers import Tokenizer

NEVER = 1 << 63  # above every rank
REMEMBERED = 4096  # words
MADE = (1 << 32) - 1

Whole: TypeAlias = Callable[[tuple[int, ...]], int | None]


class BytePairs:
    """A tokenizer: `letters` cuts a text into words and these into letters, and then pairs become one, rank by rank.

    The library would do both, but reads the pairs of a large vocabulary in one call that stops all threads for 0.3 s,
    and holds them in 150 MB (for 152k tokens). A letter is a token that no pair makes.
    """

    def __init__(
        self, letters: Tokenizer, keys: "array[int]", made: "array[int]", whole: Whole | None, blank: int | None
    ):
        """By rank, pairs as keys and what they become. `whole` knows words that are tokens whatever pairs say.

        No token has a `blank` after anything but blanks.
        """
        ranks = np.arange(len(keys)) << 32
        order = np.argsort(keys, kind="stable")
        self._keys = array("q", np.array(keys)[order].tobytes())
        self._ranked = array("q", (ranks | np.array(made))[order].tobytes())
        self._letters = letters
        self._whole = whole
        self._blank = blank
        self._spell = lru_cache(REMEMBERED)(self._spelled)

    def encode(self, text: str) -> tuple[list[int], list[int | None]]:
        """Its tokens, and of each the number of its word."""
        found = self._letters.encode(text, add_special_tokens=False)
        ids: list[int] = []
        words: list[int | None] = []
        for word, letters in groupby(zip(found.word_ids, found.ids, strict=True), itemgetter(0)):
            for part in self._parts([id for _, id in letters]):
                spelled = self._spell(part)
                ids += spelled
                words += [word] * len(spelled)
        return ids, words

    def _parts(self, letters: list[int]) -> list[tuple[int, ...]]:
        """One where there is no blank to cut at."""
        cuts = [at for at, (last, next) in enumerate(pairwise(letters), 1) if last != self._blank == next]
        return [tuple(letters[start:end]) for start, end in pairwise([0, *cuts, len(letters)])]

    def _spelled(self, letters: tuple[int, ...]) -> list[int]:
        if self._whole is not None and (whole := self._whole(letters)) is not None:
            return [whole]
        parts = list(letters)
        ranks = [self._rank(*pair) for pair in pairwise(parts)]
        while ranks and (best := min(ranks)) != NEVER:
            at = ranks.index(best)  # the leftmost of equal ones
            parts[at : at + 2] = [best & MADE]
            del ranks[at]
            for near in range(max(at - 1, 0), min(at + 1, len(ranks))):
                ranks[near] = self._rank(parts[near], parts[near + 1])
        return parts

    def _rank(self, first: int, second: int) -> int:
        """And below it what the pair becomes."""
        key = first << 32 | second
        at = bisect(self._keys, key) - 1
        return self._ranked[at] if at >= 0 and self._keys[at] == key else NEVER
