"""What each token adds to a text, read from the tokenizer's own file."""

import re
from dataclasses import dataclass

import msgspec
import tokenizers
from msgspec import Raw, Struct

BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(slots=True, frozen=True)
class Tokens:
    """Bytes by token id; empty for specials and for ids that the tokenizer does not have."""

    texts: list[bytes]
    backend: tokenizers.Tokenizer

    def encode(self, text: str) -> list[int]:
        return self.backend.encode(text, add_special_tokens=False).ids


class _Added(Struct):
    content: str
    id: int
    special: bool


class _File(Struct):
    """What is read of tokenizer.json here."""

    decoder: Raw
    added_tokens: list[_Added]


def read_tokens(tokenizer_json: str, size: int) -> Tokens:
    backend = tokenizers.Tokenizer.from_str(tokenizer_json)
    file = msgspec.json.decode(tokenizer_json, type=_File)
    bytes_of = _bytes_of_letters if b'"ByteLevel"' in bytes(file.decoder) else _bytes_of_piece
    # One by one, since all of them in one call keep every other thread waiting for a second.
    texts = [bytes_of(backend.id_to_token(token) or "") for token in range(size)]
    for each in file.added_tokens:
        if each.id < size:
            texts[each.id] = b"" if each.special else each.content.encode()
    return Tokens(texts, backend)


def special_tokens(tokenizer_json: str, size: int) -> dict[str, int]:
    """What each special token is written as, and its id."""
    added = msgspec.json.decode(tokenizer_json, type=_File).added_tokens
    return {each.content: each.id for each in added if each.special and each.id < size}


def _bytes_of_piece(piece: str) -> bytes:
    found = BYTE_PIECE.fullmatch(piece)
    return bytes([int(found[1], 16)]) if found else piece.replace("▁", " ").encode()


def _bytes_of_letters(piece: str) -> bytes:
    try:
        return bytes(map(BYTE_OF_LETTER.__getitem__, piece))
    except KeyError:  # an added token, spelled as itself
        return piece.encode()


def _byte_of_letter() -> dict[str, int]:
    """Byte-level vocabularies spell each byte as one visible letter: these are the letters."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + at): byte for at, byte in enumerate(hidden)}


BYTE_OF_LETTER = _byte_of_letter()
