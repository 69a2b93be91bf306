"""What each token adds to a text, and how texts are spelled in tokens, read from the tokenizer's own file."""

import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import msgspec
from msgspec import Raw, Struct
from tokenizers import Tokenizer

from stemma.control.spelling.pairs import BytePairs, Whole

BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
BLANK = "▁"
INNER_BLANK = re.compile(f"[^{BLANK}]{BLANK}")
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
TOGETHER = 4096  # strings that are read in one call
NOTHING = (b"null", b'""', b"0.0")
ODD = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")  # of a model of byte pairs

Spell: TypeAlias = Callable[[str], tuple[list[int], list[int | None]]]


@dataclass(slots=True, frozen=True)
class Tokens:
    """Bytes by token id; empty for specials and for ids that the tokenizer does not have."""

    texts: list[bytes]
    spell: Spell  # a text's tokens, and of each the number of its word

    def encode(self, text: str) -> list[int]:
        return self.spell(text)[0]


class _Added(Struct):
    content: str
    id: int
    special: bool


class _File:
    """What tokenizer.json says, still as it is spelled there."""

    def __init__(self, tokenizer_json: str | bytes):
        self._parts = msgspec.json.decode(tokenizer_json, type=dict[str, Raw])
        self._model = msgspec.json.decode(self._parts["model"], type=dict[str, Raw])
        self.added = msgspec.json.decode(self._parts["added_tokens"], type=list[_Added])
        self.bytes_of = _bytes_of_letters if b'"ByteLevel"' in bytes(self._parts["decoder"]) else _bytes_of_piece

    @property
    def has_pairs(self) -> bool:
        """And nothing odd beside them."""
        return self.setting("type") == b'"BPE"' and all(self.setting(name) in NOTHING for name in ODD)

    def setting(self, name: str) -> bytes:
        return bytes(self._model.get(name, b"null"))

    def vocab(self) -> dict[str, int]:
        return msgspec.json.decode(self._model["vocab"], type=dict[str, int])

    def merges(self) -> Iterator[Sequence[str]]:
        """Pairs, by rank."""
        raw = bytes(self._model["merges"])
        is_paired = raw[1:].lstrip().startswith(b"[")
        found = STRING.finditer(raw)
        while strings := [each[0] for each in islice(found, TOGETHER)]:
            said = msgspec.json.decode(b"[%b]" % b",".join(strings), type=list[str])
            yield from zip(said[::2], said[1::2], strict=True) if is_paired else (each.split(" ") for each in said)

    def tokenizer(self, vocab: dict[str, int] | None = None) -> Tokenizer:
        """The library's; with a vocabulary, with that alone and without pairs."""
        model = self._model
        if vocab is not None:
            model = model | {"vocab": Raw(msgspec.json.encode(vocab)), "merges": Raw(b"[]")}
        return Tokenizer.from_str(msgspec.json.encode(self._parts | {"model": model}).decode())


def read_tokens(tokenizer_json: str | bytes, size: int) -> Tokens:
    file = _File(tokenizer_json)
    texts, spell = (_read_pairs if file.has_pairs else _read_whole)(file, size)
    for each in file.added:
        if each.id < size:
            texts[each.id] = b"" if each.special else each.content.encode()
    return Tokens(texts, spell)


def special_tokens(tokenizer_json: str | bytes, size: int) -> dict[str, int]:
    """What each special token is written as, and its id."""
    return {each.content: each.id for each in _File(tokenizer_json).added if each.special and each.id < size}


def _read_whole(file: _File, size: int) -> tuple[list[bytes], Spell]:
    backend = file.tokenizer()

    def spell(text: str) -> tuple[list[int], list[int | None]]:
        found = backend.encode(text, add_special_tokens=False)
        return found.ids, found.word_ids

    # One by one, since all of them in one call keep every other thread waiting for a second.
    return [file.bytes_of(backend.id_to_token(id) or "") for id in range(size)], spell


def _read_pairs(file: _File, size: int) -> tuple[list[bytes], Spell]:
    vocab = file.vocab()
    texts = [b""] * size
    for piece, id in vocab.items():
        if id < size:
            texts[id] = file.bytes_of(piece)
    unknown = msgspec.json.decode(file.setting("unk_token"))
    letters = {
        each: id for each, id in vocab.items() if len(each) == 1 or each == unknown or BYTE_PIECE.fullmatch(each)
    }
    letters |= {each.content: each.id for each in file.added}
    keys, made = array("q"), array("q")
    for first, second in file.merges():
        keys.append(vocab[first] << 32 | vocab[second])
        made.append(vocab[first + second])
    whole = _words(vocab, texts) if file.setting("ignore_merges") == b"true" else None
    blank = None if whole or any(map(INNER_BLANK.search, vocab)) else vocab.get(BLANK)
    return texts, BytePairs(file.tokenizer(letters), keys, made, whole, blank).encode


def _words(vocab: dict[str, int], texts: list[bytes]) -> Whole:
    """The token that is a whole word, if there is one."""
    order = array("i", sorted((id for id in vocab.values() if id < len(texts)), key=texts.__getitem__))

    def whole(letters: tuple[int, ...]) -> int | None:
        text = b"".join(texts[id] for id in letters)
        at = bisect_left(order, text, key=texts.__getitem__)
        return order[at] if at < len(order) and texts[order[at]] == text else None

    return whole


def _bytes_of_piece(piece: str) -> bytes:
    found = BYTE_PIECE.fullmatch(piece)
    return bytes([int(found[1], 16)]) if found else piece.replace(BLANK, " ").encode()


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
