"""The llguidance library as a backend: lazy automata, an Earley parser over them, limits of its own on both.

Moskal et al., "LLGuidance", https://github.com/guidance-ai/llguidance.
"""

import json
import time
from collections.abc import Sequence
from functools import cached_property
from typing import cast

import numpy as np
from llguidance import LLExecutor, LLMatcher, LLParserLimits, LLTokenizer
from llguidance._tokenizer import TokenizerWrapper
from numpy.typing import NDArray

from stemma.control.grammar.ebnf import add_ebnf
from stemma.control.grammar.lark import Lark, pattern
from stemma.control.grammar.matcher import Backend, Compiled, Matcher, Vocabulary, Whitespace
from stemma.control.grammar.parts import Schema, checked, read_json
from stemma.control.grammar.schema import Rewriter
from stemma.control.grammar.tags import Tags
from stemma.control.spelling.tokens import Tokens
from stemma.core.base.errors import GrammarError
from stemma.core.types.grammar import Grammar

USUAL_BLANKS = 32  # a line and the indentation of the next
FORCED_BYTES = 1024  # of forced text that are looked at: grammars may force a million, and would at every token
ALONE_SECONDS = 500e-6  # that masks may take before other threads help: most take less than these to wake up
WORDS = "[a-zA-Z0-9]+"  # where each of these may come, tokens of them are not walked: many patterns allow them all
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
        return self._tokens.encode(text[:FORCED_BYTES].decode(errors="ignore"))


class LLGuidanceBackend(Backend):
    """Serves every kind of grammar. The library bounds its compiles; what is translated is prepared."""

    rewrites = False

    def __init__(self, vocabulary: Vocabulary, whitespace: Whitespace):
        self._vocabulary = vocabulary
        self._options = {"whitespace_pattern": whitespace.regex(USUAL_BLANKS)}
        self._limits = LLParserLimits(verbose_errors=False)
        self._threads = LLExecutor()

    @cached_property
    def _tokenizer(self) -> LLTokenizer:
        stop_ids = self._vocabulary.stop_ids
        slices = [WORDS, *LLTokenizer.general_slices()]
        texts = TokenizerWrapper(_Texts(self._vocabulary.tokens, stop_ids))
        return LLTokenizer(texts, eos_token=list(stop_ids), slices=slices)

    def compile(self, grammar: Grammar) -> Compiled | None:
        match grammar.kind:
            case "json_schema":
                source = LLMatcher.grammar_from_json_schema(json.dumps(self._told(read_json(grammar))))
            case "regex":
                source = LLMatcher.grammar_from_lark(Lark({}).source(pattern(grammar.source)))
            case _:
                return None
        try:
            return self.load(grammar, source)
        except GrammarError:
            if self.rewrites and grammar.kind == "json_schema":
                return None
            raise

    def prepare(self, grammar: Grammar) -> str:
        """The grammar in the library's own words, which it was seen to take."""
        if grammar.kind == "json_schema":
            source = LLMatcher.grammar_from_json_schema(json.dumps(self._served(read_json(grammar))))
        elif grammar.kind == "ebnf":
            lark = Lark(self._vocabulary.special)
            source = LLMatcher.grammar_from_lark(lark.source(add_ebnf(grammar.source, lark)))
        else:
            source = LLMatcher.grammar_from_lark(
                Tags(Lark(self._vocabulary.special), self._served).translate(read_json(grammar))
            )
        if message := self._why_not(source):
            raise refusal(grammar, message)
        return source

    def load(self, grammar: Grammar, prepared: str) -> Compiled:
        first = LLMatcher(self._tokenizer, prepared, log_level=0, limits=self._limits)
        if first.is_error():
            raise refusal(grammar, first.get_error())
        return Compiled(lambda: LLGuidanceMatcher(first.deep_copy(), self._vocabulary.stop_ids))

    def fill_masks(self, matchers: Sequence[Matcher], words_NW: NDArray[np.uint32]) -> None:
        pairs = [(matcher.state, at) for at, matcher in enumerate(cast(Sequence[LLGuidanceMatcher], matchers))]
        address, stride = words_NW.ctypes.data, words_NW.strides[0]
        patience = time.perf_counter() + ALONE_SECONDS
        for state, at in pairs:
            if time.perf_counter() > patience:
                self._threads.unsafe_compute_mask_ptr(pairs[at:], address, stride, len(pairs))
                break
            state.unsafe_compute_mask_ptr(address + at * stride, stride)
        words_NW[[at for state, at in pairs if state.is_error()]] = 0

    def _served(self, schema: object) -> object:
        """The schema, rewritten if the library refuses it as it is."""
        schema = self._told(schema)
        if not self.rewrites:
            return schema
        is_refused = self._why_not(LLMatcher.grammar_from_json_schema(json.dumps(schema)))
        return self._told(Rewriter(checked(schema), is_empty).document()) if is_refused else schema

    def _told(self, schema: object) -> object:
        """With what the library reads beside a schema; what a client wrote there counts for nothing."""
        schema = {} if schema is True else schema
        return {**schema, "x-guidance": self._options} if isinstance(schema, dict) else schema

    def _why_not(self, source: str) -> str:
        """What the library says of a grammar that it refuses."""
        is_refused, messages = LLMatcher.validate_grammar_with_warnings(source, limits=self._limits)
        return messages[0] if is_refused else ""


class RewritingBackend(LLGuidanceBackend):
    """The same, with schemas that the library refuses rewritten into ones that it serves."""

    rewrites = True


def is_empty(schema: Schema) -> bool:
    """True: the library sees that no value can be right."""
    if isinstance(schema, bool):
        return not schema
    source = LLMatcher.grammar_from_json_schema(json.dumps(schema))
    return "Unsatisfiable schema" in LLMatcher.validate_grammar(source, limits=LLParserLimits(verbose_errors=False))


def refusal(grammar: Grammar, message: str) -> GrammarError:
    return GrammarError(f"{grammar.kind}: {message.strip().removesuffix('<non-verbose/>').strip()}")


class LLGuidanceMatcher:
    def __init__(self, state: LLMatcher, stop_ids: tuple[int, ...]):
        self.state = state
        self._stop_ids = stop_ids

    @property
    def is_complete(self) -> bool:
        return self.state.is_accepting()

    @property
    def is_over(self) -> bool:
        return self.state.is_stopped()

    def fill_mask(self, words_W: NDArray[np.uint32]) -> None:
        self.state.unsafe_compute_mask_ptr(words_W.ctypes.data, words_W.nbytes)
        self._check()

    def accept(self, token: int) -> bool:
        if not self.state.is_stopped() and self.state.try_consume_tokens([token]) == 1:
            return True
        self._check()
        return self.state.is_stopped() and token in self._stop_ids

    def _check(self) -> None:
        if self.state.is_error():
            raise GrammarError(f"the grammar is too costly here: {self.state.get_error()}; make it simpler")

    def forced(self) -> bytes:
        return self.state.compute_ff_bytes().partition(SPECIAL)[0][:FORCED_BYTES].decode(errors="ignore").encode()
