"""The llguidance library as a backend: lazy automata, an Earley parser over them, limits of its own on both.

Moskal et al., "LLGuidance", https://github.com/guidance-ai/llguidance.
"""

import json

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from stemma.control.grammar.matcher import Vocabulary
from stemma.core.base.errors import GrammarError
from stemma.core.types.grammar import Grammar

SPECIAL = b"\xff"  # the library writes a special token as this byte, which no text has, and its number


class LLGuidanceBackend:
    """Serves every kind of grammar. A compile is bounded by the library's fuel, not by time."""

    def __init__(self, vocabulary: Vocabulary):
        self.tokenizer = LLTokenizer(vocabulary.tokenizer_json, vocabulary.size, list(vocabulary.stop_ids))
        self.limits = LLParserLimits(verbose_errors=False)

    def compile(self, grammar: Grammar) -> "LLGuidanceCompiled":
        first = LLMatcher(self.tokenizer, source_of(grammar), log_level=0, limits=self.limits)
        if first.is_error():
            raise GrammarError(f"{grammar.kind}: {first.get_error()}")
        return LLGuidanceCompiled(first)


def source_of(grammar: Grammar) -> str:
    """The grammar in the library's own words."""
    match grammar.kind:
        case "json_schema":
            return LLMatcher.grammar_from_json_schema(checked_json(grammar.source))
        case "regex":
            return LLMatcher.grammar_from_regex(grammar.source)
        case _:
            raise GrammarError(f"{grammar.kind} grammars are not served yet")


def checked_json(text: str) -> str:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GrammarError(f"json_schema: this is not JSON: {error}") from None
    return text


class LLGuidanceCompiled:
    def __init__(self, first: LLMatcher):
        self._first = first

    def matcher(self) -> "LLGuidanceMatcher":
        return LLGuidanceMatcher(self._first.deep_copy())


class LLGuidanceMatcher:
    def __init__(self, state: LLMatcher):
        self._state = state

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
        return self._state.try_consume_tokens([token]) == 1

    def forced(self) -> bytes:
        text = self._state.compute_ff_bytes().partition(SPECIAL)[0]
        return text.decode(errors="ignore").encode()
