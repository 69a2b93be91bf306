"""The outlines-core library as a backend: one finite automaton over tokens. Optional: `pip install outlines_core`.

Willard and Louf, "Efficient Guided Generation for Large Language Models", 2023.
"""

import json
from base64 import b85decode, b85encode
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from outlines_core import Guide, Index
from outlines_core import Vocabulary as Texts
from outlines_core.json_schema import build_regex_from_schema

from stemma.control.grammar.guard import IGNORED, check_keywords
from stemma.control.grammar.matcher import Backend, Compiled, Vocabulary, Whitespace
from stemma.control.grammar.parts import read_json
from stemma.core.base.errors import GrammarError
from stemma.core.types.grammar import Grammar

IGNORED_TOO = frozenset(
    "minimum maximum exclusiveMinimum exclusiveMaximum patternProperties propertyNames minProperties maxProperties "
    "oneOf allOf".split()
)
FORMATS = frozenset("date-time date time uuid email uri".split())
USUAL_BLANKS = 2  # each is a state more at every place


class OutlinesBackend(Backend):
    """Serves schemas and regular expressions; every state and token is visited ahead, so that is always prepared."""

    def __init__(self, vocabulary: Vocabulary, whitespace: Whitespace):
        self._vocabulary = vocabulary
        self._whitespace = whitespace.regex(USUAL_BLANKS)

    @cached_property
    def _texts(self) -> Texts:
        found: dict[bytes, list[int]] = {}
        for token, text in enumerate(self._vocabulary.tokens.texts):
            if text:
                found.setdefault(text, []).append(token)
        return Texts(self._vocabulary.stop_ids[0], found)

    def prepare(self, grammar: Grammar) -> str:
        try:
            match grammar.kind:
                case "json_schema":
                    schema = read_json(grammar)
                    check_keywords(schema, IGNORED | IGNORED_TOO, FORMATS)
                    regex = build_regex_from_schema(json.dumps(schema), self._whitespace)
                case "regex":
                    regex = grammar.source
                case kind:
                    raise GrammarError(f"{kind}: outlines serves JSON schemas and regular expressions alone")
            index = Index(regex, self._texts)
        except (ValueError, TypeError) as error:
            raise GrammarError(f"{grammar.kind}: {error}") from None
        return b85encode(bytes(index.__reduce__()[1][0])).decode()

    def load(self, grammar: Grammar, prepared: str) -> Compiled:
        index = Index.from_binary(b85decode(prepared))
        return Compiled(lambda: OutlinesMatcher(index, self._vocabulary.stop_ids))


class OutlinesMatcher:
    """The library knows one stop id; the others share its place in the mask."""

    def __init__(self, index: Index, stop_ids: tuple[int, ...]):
        self._index = index
        self._guide = Guide(index)
        self._stop_ids = stop_ids
        self._has_ended = False

    @property
    def is_complete(self) -> bool:
        return self._has_ended or self._index.is_final_state(self._guide.get_state())

    @property
    def is_over(self) -> bool:
        return self._has_ended or (self.is_complete and set(self._guide.get_tokens()) <= set(self._stop_ids))

    def fill_mask(self, words: NDArray[np.uint32]) -> None:
        words[:] = 0
        if not self._has_ended:
            self._guide.write_mask_into(words.ctypes.data, words.size, 4)
        for token in self._stop_ids if self.is_complete else ():
            words[token // 32] |= np.uint32(1 << token % 32)

    def accept(self, token: int) -> bool:
        if token in self._stop_ids:
            self._has_ended = self._has_ended or self.is_complete
            return self._has_ended
        if self._has_ended or not self._guide.accepts_tokens([token]):
            return False
        self._guide.advance(token, return_tokens=False)
        return True

    def forced(self) -> bytes:
        """The library knows tokens alone: one text may be many of them."""
        return b""
