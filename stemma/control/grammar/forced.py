"""Jump-forward: how the tokenizer would spell text that a grammar forces, given the text before it.

    drawn   … {"  na                        the last token was drawn, and nobody has seen it yet
    forced          me": "
    spelled … {"  name  ":   "              what the tokenizer makes of the whole text
    given         name  ":                  in place of the last token; ` "` may yet become ` "A`

Tokens that were said stay. Those that are given begin where both spellings have a border, at the end of
the known tokens or before the last one if that may still be taken back; where they have none, the model
goes on by itself until there is one. The last word of the text is left to the model, too: what
follows may belong to it.
"""

import re
from array import array
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import tokenizers

WINDOW = 32  # tokens before the forced text that the tokenizer looks at
BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Spelling(NamedTuple):
    """Tokens that follow the known ones, or take the place of the last of them."""

    replaced: int  # 0 or 1
    tokens: list[int]


class Speller:
    """One tokenizer. Owned by the engine's loop."""

    def __init__(self, tokenizer_json: str):
        self._tokenizer = tokenizers.Tokenizer.from_str(tokenizer_json)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._is_byte_level = "ByteLevel" in str(self._tokenizer.decoder)
        self._bytes_of = lru_cache(maxsize=None)(self._bytes)

    def spell(self, known: "array[int]", may_replace: bool, forced: bytes) -> Spelling:
        """What can be given of `forced`, which are whole characters; without tokens when nothing can."""
        nothing = Spelling(0, [])
        parts = [self._bytes_of(token) for token in known[-WINDOW:]]
        while parts and parts[0][:1] and 0x80 <= parts[0][0] < 0xC0:  # a window begins with a character
            del parts[0]
        before = b"".join(parts)
        try:
            found = self._tokenizer.encode((before + forced).decode(), add_special_tokens=False)
        except UnicodeDecodeError:  # the known tokens end inside a character
            return nothing
        ids, whole = found.ids, b"".join(map(self._bytes_of, found.ids))
        extra = len(whole) - len(before) - len(forced)  # some tokenizers put a space before every text
        if whole != b" " * extra + before + forced:
            return nothing
        ends = [end - extra for end in accumulate(map(len, map(self._bytes_of, ids)), initial=0)]
        place = {end: at for at, end in enumerate(ends)}
        borders = [len(before), len(before) - len(parts[-1])] if parts and may_replace else [len(before)]
        replaced = next((replaced for replaced, border in enumerate(borders) if border in place), None)
        last = self._last_word(ids, found.word_ids)
        if replaced is None or ends[last] <= len(before):
            return nothing
        return Spelling(replaced, ids[place[borders[replaced]] : last])

    def covers(self, token: int, tokens: Iterable[int]) -> bool:
        """Whether `tokens` say more than `token`, in whose place they came."""
        return sum(map(len, map(self._bytes_of, tokens))) > len(self._bytes_of(token))

    def _last_word(self, ids: list[int], words: list[int | None]) -> int:
        """Where the last word begins. In vocabularies of pieces a space begins a word."""
        at = len(ids) - 1
        while at > 0 and words[at - 1] == words[at] and not (self._piece(ids[at]).startswith("▁")):
            at -= 1
        return max(at, 0)

    def _piece(self, token: int) -> str:
        return self._tokenizer.id_to_token(token) or ""

    def _bytes(self, token: int) -> bytes:
        """What a token adds to a text."""
        piece = self._piece(token)
        if self._is_byte_level:
            try:
                return bytes(map(BYTE_OF_SIGN.__getitem__, piece))
            except KeyError:  # an added token, spelled as itself
                return piece.encode()
        byte = BYTE_PIECE.fullmatch(piece)
        return piece.replace("▁", " ").encode() if byte is None else bytes([int(byte[1], 16)])


def _byte_of_sign() -> dict[str, int]:
    """Byte-level vocabularies spell each byte as one visible letter: these are the letters."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + at): byte for at, byte in enumerate(hidden)}


BYTE_OF_SIGN = _byte_of_sign()
