"""Tokens to text, one token at a time, for a sequence that is still growing."""

import codecs
from collections.abc import Collection
from typing import Protocol

from stemma.front.text.tokenizer import Tokenizer


class Detokenizer(Protocol):
    """One sequence's text so far.

    Always: all that `add` returned, and then `finish`, joined, is `Tokenizer.decode` of all tokens.
    What may still change with the next token is held back. `late` counts the characters at the front
    of what `add` returned last that are owed to tokens before it.
    """

    late: int

    def add(self, token: int) -> str: ...

    def finish(self) -> str: ...


def detokenizer(tokenizer: Tokenizer, skip_special_tokens: bool, shown: Collection[int] = ()) -> Detokenizer:
    """`shown` are special tokens that are not skipped."""
    kind = ByteDetokenizer if tokenizer.is_byte_level else PieceDetokenizer
    return kind(tokenizer, tokenizer.special_ids.difference(shown) if skip_special_tokens else frozenset())


class ByteDetokenizer:
    """For byte-level vocabularies: holds back a character whose bytes are not all there."""

    def __init__(self, tokenizer: Tokenizer, skipped: Collection[int]):
        self._tokenizer = tokenizer
        self._skipped = skipped
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.late = 0

    def add(self, token: int) -> str:
        return "" if token in self._skipped else self._decoder.decode(self._tokenizer.bytes_of(token))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


class PieceDetokenizer:
    """For vocabularies of text: holds back a run of byte tokens, whose text depends on the whole run."""

    def __init__(self, tokenizer: Tokenizer, skipped: Collection[int]):
        self._tokenizer = tokenizer
        self._skipped = skipped
        self._run: list[int] = []  # byte tokens, not yet said
        self._has_begun = False
        self.late = 0

    def add(self, token: int) -> str:
        self.late = 0
        if token in self._skipped or self._tokenizer.piece_of(token) is None:
            return ""
        if self._tokenizer.byte_of(token) is not None:
            self._run.append(token)
            return ""
        before = self.finish()
        self.late = len(before)
        return before + self._say([token])

    def finish(self) -> str:
        run, self._run = self._run, []
        return self._say(run) if run else ""

    def _say(self, tokens: list[int]) -> str:
        if not self._has_begun:
            self._has_begun = True
            return self._tokenizer.decode(tokens, skip_special_tokens=False)
        return self._tokenizer.text_of(tokens[0]) if len(tokens) == 1 else self._tokenizer.decode_after_start(tokens)
