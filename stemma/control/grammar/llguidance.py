"""The llguidance library as a backend: lazy automata, an Earley parser over them, limits of its own on both.

Moskal et al., "LLGuidance", https://github.com/guidance-ai/llguidance.
"""

import json
from collections.abc import Sequence

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance._tokenizer import TokenizerWrapper
from numpy.typing import NDArray

from stemma.control.grammar.ebnf import add_ebnf
from stemma.control.grammar.lark import Lark
from stemma.control.grammar.matcher import Vocabulary
from stemma.control.grammar.tags import Tags
from stemma.control.grammar.tokens import Tokens, read_tokens
from stemma.core.base.errors import GrammarError
from stemma.core.types.grammar import Grammar

SPECIAL = b"\xff"  # the library writes a special token as this byte, which no text has, and its number


class _Texts:
    """The vocabulary as the library asks for it. It encodes what a grammar forces: the mask then has that alone."""

    def __init__(self, tokens: Tokens, stop_ids: Sequence[int]):
        self._tokens = tokens
        self.tokens = [text or SPECIAL + b"<%d>" % token for token, text in enumerate(tokens.texts)]
        self.eos_token_id = stop_ids[0]
        self.bos_token_id = None
        self.special_token_ids: list[int] = []

    def __call__(self, text: bytes) -> list[int]:
        return self._tokens.encode(text.decode(errors="ignore"))


class LLGuidanceBackend:
    """Serves every kind of grammar. A compile is bounded by the library's fuel, not by time."""

    def __init__(self, vocabulary: Vocabulary):
        tokens = read_tokens(vocabulary.tokenizer_json, vocabulary.size)
        texts = TokenizerWrapper(_Texts(tokens, vocabulary.stop_ids))
        self._tokenizer = LLTokenizer(texts, eos_token=list(vocabulary.stop_ids))
        self._special = tokens.special
        self._stop_ids = vocabulary.stop_ids
        self._limits = LLParserLimits(verbose_errors=False)

    def compile(self, grammar: Grammar) -> "LLGuidanceCompiled":
        first = LLMatcher(self._tokenizer, self._source(grammar), log_level=0, limits=self._limits)
        if first.is_error():
            raise GrammarError(f"{grammar.kind}: {first.get_error()}")
        return LLGuidanceCompiled(first, self._stop_ids)

    def _source(self, grammar: Grammar) -> str:
        """The grammar in the library's own words."""
        lark = Lark(self._special)
        match grammar.kind:
            case "json_schema":
                return LLMatcher.grammar_from_json_schema(checked_json(grammar.source))
            case "regex":
                return LLMatcher.grammar_from_regex(grammar.source)
            case "ebnf":
                return LLMatcher.grammar_from_lark(lark.source(add_ebnf(grammar.source, lark)))
            case "structural_tag":
                return LLMatcher.grammar_from_lark(Tags(lark, lambda schema: schema).translate(grammar.source))


def checked_json(text: str) -> str:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GrammarError(f"json_schema: this is not JSON: {error}") from None
    return text


class LLGuidanceCompiled:
    def __init__(self, first: LLMatcher, stop_ids: tuple[int, ...]):
        self._first = first
        self._stop_ids = stop_ids

    def matcher(self) -> "LLGuidanceMatcher":
        return LLGuidanceMatcher(self._first.deep_copy(), self._stop_ids)


class LLGuidanceMatcher:
    def __init__(self, state: LLMatcher, stop_ids: tuple[int, ...]):
        self._state = state
        self._stop_ids = stop_ids

    @property
    def is_complete(self) -> bool:
        return self._state.is_accepting()

    @property
    def is_over(self) -> bool:
        return self._state.is_stopped()

    def fill_mask(self, words: NDArray[np.uint32]) -> None:
        self._state.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        if self._state.is_error():
            raise GrammarError(f"the grammar is too costly here: {self._state.get_error()}; make it simpler")

    def accept(self, token: int) -> bool:
        if self._state.is_stopped():
            return token in self._stop_ids and not self._state.is_error()
        return self._state.try_consume_tokens([token]) == 1

    def forced(self) -> bytes:
        text = self._state.compute_ff_bytes().partition(SPECIAL)[0]
        return text.decode(errors="ignore").encode()
