"""Random choice for the text of acorn, and the rule that keeps a fifth of everything out of training.

Always: what `is_held_out` names is never drawn by a training `Draw`, on any machine and with any seed.
"""

import hashlib
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

from tools.acorn import words

HELD_OUT_ONE_IN = 5


@cache
def common_words() -> frozenset[str]:
    """Words that stand in sentences of any kind and so cannot be held out."""
    lists = (
        words.NOUNS,
        words.ITEMS,
        words.COLORS,
        words.JOBS,
        words.SPECIES,
        words.EVENTS,
        words.ADJECTIVES,
        words.ROOMS,
    )
    return frozenset(word.lower() for listed in (*lists, words.WORLD, words.MONTHS, words.LANGUAGES) for word in listed)


@cache
def is_held_out(kind: str, text: str) -> bool:
    """Whether this addition, word or wording is kept for the examination. A name is a word; case does not matter."""
    if kind == "word":
        text = text.lower()
        if text in common_words():
            return False
    return hashlib.sha256(f"{kind}:{text}".encode()).digest()[0] % HELD_OUT_ONE_IN == 0


@cache
def held_out_wordings(options: tuple[str, ...]) -> frozenset[str]:
    """The sentence patterns kept for the examination: those the hash names, or else the one with the least hash."""
    chosen = frozenset(option for option in options if is_held_out("wording", option))
    if chosen or len(options) < 4:
        return chosen if len(chosen) < len(options) else frozenset()
    return frozenset([min(options, key=lambda option: hashlib.sha256(f"wording:{option}".encode()).digest())])


@cache
def _share(options: tuple[str, ...], unseen: bool) -> tuple[str, ...]:
    """The patterns on one side of the hold-out; lists of fewer than four may have none on the unseen side."""
    held_out = held_out_wordings(options)
    return tuple(option for option in options if (option in held_out) == unseen) or options


@dataclass(slots=True, eq=False)
class Draw:
    """One stream of random choices, for training or for the examination. Owned by who drew its seed.

    `unseen_items` draws names, words and additions that training never meets; `unseen_wordings` does the same
    for the sentences around them, `unseen_tools` for the names of tools. A training draw has none of these.
    """

    rng: random.Random
    unseen_items: bool = False
    unseen_wordings: bool = False
    unseen_tools: bool = False
    pieces: Sequence[str] = field(default=())

    @property
    def is_examination(self) -> bool:
        """Whether this asks for what training never meets."""
        return self.unseen_items

    def wording(self, options: Sequence[str]) -> str:
        """A sentence pattern on this draw's side of the hold-out."""
        return self.rng.choice(_share(tuple(options), self.unseen_wordings))

    def item(self, make: Callable[[], str]) -> str:
        """A word made by `make` that lies on this draw's side of the hold-out."""
        while True:
            made = make()
            if is_held_out("word", made) == self.unseen_items:
                return made

    def chance(self, probability: float) -> bool:
        """True in this share of the calls."""
        return self.rng.random() < probability

    def pick(self, options: Sequence[str]) -> str:
        """One of these, none held out."""
        return self.rng.choice(options)

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return self.rng.randint(low, high)

    def addends(self, low: int = 10, high: int = 99) -> tuple[int, int]:
        """Two numbers whose sum is asked; an addition and its mirror image are held out together."""
        while True:
            a, b = self.number(low, high), self.number(low, high)
            if is_held_out("addition", f"{min(a, b)}+{max(a, b)}") == self.unseen_items:
                return a, b

    def first_name(self) -> str:
        """A first name: a third well known, the others made up."""
        return self.item(lambda: self._name(words.FIRST_NAMES))

    def last_name(self) -> str:
        """A family name: a third well known, the others made up."""
        return self.item(lambda: self._name(words.LAST_NAMES))

    def full_name(self) -> str:
        """A first name and, mostly, a family name."""
        return f"{self.first_name()} {self.last_name()}" if self.chance(0.7) else self.first_name()

    def town(self) -> str:
        """A town outside the invented world, so that any name will do."""
        return self.item(self._town)

    def word(self) -> str:
        """A lower-case word, half of them made up."""
        return self.item(self._word)

    def nouns(self, count: int) -> list[str]:
        """Distinct common nouns."""
        return self.rng.sample(words.NOUNS, count)

    def _name(self, known: Sequence[str]) -> str:
        return self.rng.choice(known) if self.chance(0.35) else self._invented().capitalize()

    def _town(self) -> str:
        if self.chance(0.35):
            return self.rng.choice(words.TOWNS)
        stem = self._invented()
        return (stem + self.rng.choice(words.TOWN_ENDS) if self.chance(0.3) else stem).capitalize()

    def _word(self) -> str:
        return self.rng.choice(words.NOUNS) if self.chance(0.5) else self._invented()

    def _invented(self) -> str:
        """Letters that can be spoken: vocabulary pieces, syllables, or vowels and consonants by turns."""
        kind = self.rng.random()
        while True:
            if kind < 0.45 and self.pieces:
                made = "".join(self.rng.choice(self.pieces) for _ in range(self.number(1, 3)))
            elif kind < 0.85:
                made = "".join(self._syllable() for _ in range(self.number(1, 3)))
            else:
                made = "".join(self.rng.choice("abcdefghijklmnopqrstuvwxyzaeiou") for _ in range(self.number(3, 7)))
            if 3 <= len(made) <= 11:
                return made

    def _syllable(self) -> str:
        return self.rng.choice(words.ONSETS) + self.rng.choice(words.VOWELS) + self.rng.choice(words.CODAS)


def with_articles(text: str) -> str:
    """The text with `an` for `a` before a vowel."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
