"""Jump-forward: how the tokenizer spells text that a grammar forces, given the text before it.

    drawn   {"  na                    the last token was drawn, and nobody has seen it yet
    forced        me": "
    whole   {"  name  ":   "          as the tokenizer spells it
    given       name  ":              in place of the last token; ` "` may yet become ` "A`

Tokens that were said stay. What is given begins where both spellings have a border: at the end of the
known tokens, or before the last of them if that may be taken back; where there is none, the model goes
on by itself until there is. It ends before the last word of the text, since what follows may belong to
that word. So whoever spells the finished answer finds the same tokens at the same places.
"""

from array import array
from itertools import accumulate, takewhile
from typing import NamedTuple

from stemma.control.spelling.tokens import Tokens

WINDOW = 32  # known tokens that the tokenizer looks at; words are shorter


class Spelling(NamedTuple):
    """Tokens that follow the known ones, or take the place of the last of them."""

    replaced: int  # 0 or 1
    tokens: list[int]


NOTHING = Spelling(0, [])


class Speller:
    """Knows one tokenizer."""

    def __init__(self, tokens: Tokens):
        self._texts = tokens.texts
        self._spell = tokens.spell

    def spell(self, known: "array[int]", may_replace: bool, forced: bytes, most: int) -> Spelling:
        """The beginning of `forced`, which are whole characters, in at most so many more tokens than are known."""
        parts = self._text_before(known)
        before = b"".join(parts)
        try:
            ids, words = self._spell((before + forced).decode())
        except UnicodeDecodeError:  # the known tokens end inside a character
            return NOTHING
        texts = [self._texts[token] for token in ids]
        extra = sum(map(len, texts)) - len(before) - len(forced)  # some tokenizers put a space before every text
        if b"".join(texts) != b" " * extra + before + forced:
            return NOTHING
        ends = [end - extra for end in accumulate(map(len, texts), initial=0)]
        last = _last_word(texts, words)
        for replaced in (0, 1) if may_replace and parts else (0,):
            border = len(before) - (len(parts[-1]) if replaced else 0)
            if border in ends:
                at = ends.index(border)
                end = min(last, at + replaced + most)
                return Spelling(replaced, ids[at:end]) if ends[end] > len(before) else NOTHING
        return NOTHING

    def _text_before(self, known: "array[int]") -> list[bytes]:
        """The bytes of the last known tokens: since a special one, which is a border, and from a whole character on."""
        parts = list(takewhile(bool, (self._texts[token] for token in reversed(known[-WINDOW:]))))[::-1]
        while parts and 0x80 <= parts[0][0] < 0xC0:
            del parts[0]
        return parts


def _last_word(texts: list[bytes], words: list[int | None]) -> int:
    """Where the last word begins. Some tokenizers know no words: there a space begins one."""
    at = max(len(texts) - 1, 0)
    while at > 0 and words[at - 1] == words[at] and not texts[at].startswith(b" "):
        at -= 1
    return at
