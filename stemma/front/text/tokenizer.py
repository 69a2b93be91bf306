"""Text to token ids and back, by the model's own tokenizer.json."""

import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import tokenizers
from tokenizers import decoders

from stemma.core.base.errors import BadRequest, CheckpointError
from stemma.core.config.chat import read_settings

BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
BYTE_LEVEL_STEPS = {"ByteLevel", "Fuse"}
MAX_BYTES = 4 << 20  # the library takes up to 200 bytes of memory for each while it works
PIECE_STEPS = {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace", "WordPiece"}


class Tokenizer:
    """One vocabulary. Encoding and decoding may be called from any thread.

    Two kinds of vocabularies exist. In a byte-level one each token is a string of bytes, and text is
    those bytes, joined. In the other each token is text, save for tokens that stand for single bytes
    (`<0x0A>`), of which a whole run is decoded at once; the first token loses its leading space.
    """

    def __init__(self, backend: tokenizers.Tokenizer, eos_token: str | None = None, origin: str = "the tokenizer"):
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        added = backend.get_added_tokens_decoder()
        self.vocab_size = max([backend.get_vocab_size(with_added_tokens=False), *(id + 1 for id in added)])
        self.special_ids = frozenset(id for id, token in added.items() if token.special)
        self.eos_id = None if eos_token is None else backend.token_to_id(eos_token)
        steps = _decoder_steps(backend.decoder)
        self.is_byte_level = "ByteLevel" in steps
        self.has_byte_pieces = "ByteFallback" in steps
        unknown = [step for step in steps if step not in (BYTE_LEVEL_STEPS if self.is_byte_level else PIECE_STEPS)]
        if unknown:
            raise CheckpointError(f"{origin}: its decoder {' + '.join(steps)} is of no kind that is known here")
        self._texts: dict[int, str] = {}  # what was asked for already
        self._bytes: dict[int, bytes] = {}

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Tokenizer":
        """Raises CheckpointError, naming the file, when one is missing or damaged."""
        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError(f"{path} does not exist; a model folder needs its tokenizer in this form")
        try:
            backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise CheckpointError(f"{path} is damaged: {error}") from error
        eos_token = special_tokens(read_settings(folder)).get("eos_token")
        return cls(backend, eos_token, str(path))

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return self.encode_batch([text], add_special_tokens)[0]

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool = True) -> list[list[int]]:
        """Raises BadRequest for text that has no UTF-8 form, or more of it than should be held as tokens."""
        size = sum(map(check_unicode, texts))
        if size > MAX_BYTES:
            raise BadRequest(f"{size} bytes of text are too much to tokenize at once; send at most {MAX_BYTES}")
        # The batch form, also for one: only it leaves the interpreter to others while it works.
        found = self._backend.encode_batch_fast(list(texts), add_special_tokens=add_special_tokens)
        return [encoding.ids for encoding in found]

    def decode(self, tokens: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Ids that the vocabulary does not have (a model's may be padded) are nothing."""
        return self._backend.decode(list(tokens), skip_special_tokens=skip_special_tokens)

    def piece_of(self, token: int) -> str | None:
        """The token as tokenizer.json spells it."""
        return self._backend.id_to_token(token)

    def id_of(self, piece: str) -> int | None:
        return self._backend.token_to_id(piece)

    def bytes_of(self, token: int) -> bytes:
        """What the token adds to a text that has begun; empty when the vocabulary does not have it."""
        added = self._bytes.get(token)
        if added is None:
            added = self._bytes[token] = self._added_by(token)
        return added

    def _added_by(self, token: int) -> bytes:
        piece = self.piece_of(token)
        if piece is None:
            return b""
        if self.is_byte_level:
            try:
                return bytes(map(BYTE_OF_SIGN.__getitem__, piece))
            except KeyError:  # an added token, spelled as itself
                return piece.encode()
        byte = self.byte_of(token)
        return self.text_of(token).encode() if byte is None else bytes([byte])

    def byte_of(self, token: int) -> int | None:
        """The byte that a token such as `<0x0A>` stands for."""
        found = BYTE_PIECE.fullmatch(self.piece_of(token) or "") if self.has_byte_pieces else None
        return None if found is None else int(found[1], 16)

    def text_of(self, token: int) -> str:
        """The token as text, alone; not the first of its text, so a leading space stays."""
        text = self._texts.get(token)
        if text is None:
            text = self._texts[token] = self.decode_after_start([token])
        return text

    def decode_after_start(self, tokens: Sequence[int]) -> str:
        """As `decode` would, were there text before; specials are shown."""
        if self.is_byte_level:
            return self.decode(tokens, skip_special_tokens=False)
        return self.decode([self._anchor, *tokens], skip_special_tokens=False)[len(self._anchor_text) :]

    @cached_property
    def _anchor(self) -> int:
        """Some ordinary token that is text, to stand before others."""
        for token in range(self.vocab_size):
            if token not in self.special_ids and self.decode([token]).isalnum() and self.byte_of(token) is None:
                return token
        raise CheckpointError("the vocabulary has no token that is a letter or a digit")

    @cached_property
    def _anchor_text(self) -> str:
        return self.decode([self._anchor])


def check_unicode(text: str, field: str | None = None) -> int:
    """How many bytes it has. Raises BadRequest for half of a surrogate pair: Python can hold it, UTF-8 cannot."""
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise BadRequest(
            f"the text is not valid Unicode: U+{code:04X} at {error.start} is half a pair", field
        ) from None


def special_tokens(settings: dict[str, object]) -> dict[str, str]:
    """The tokens that tokenizer_config.json names by their role: bos_token, eos_token, ..."""
    found: dict[str, str] = {}
    for name, value in settings.items():
        content = value.get("content") if isinstance(value, dict) else value
        if name.endswith("_token") and isinstance(content, str):
            found[name] = content
    return found


def _decoder_steps(decoder: decoders.Decoder | None) -> list[str]:
    """The names of a decoder's steps, nested sequences laid flat."""

    def names(form: dict[str, object]) -> list[str]:
        inner = form.get("decoders")
        return [name for step in inner for name in names(step)] if isinstance(inner, list) else [str(form["type"])]

    return [] if decoder is None else names(json.loads(decoder.__getstate__()))


def _byte_of_sign() -> dict[str, int]:
    """Byte-level vocabularies spell each byte as one visible letter: these are the letters."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + at): byte for at, byte in enumerate(hidden)}


BYTE_OF_SIGN = _byte_of_sign()
