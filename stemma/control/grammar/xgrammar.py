"""The xgrammar library as a backend: a pushdown automaton with masks computed ahead. Optional: `pip install xgrammar`.

Dong et al., "XGrammar: Flexible and Efficient Structured Generation Engine for Large Language Models", 2024.
"""

import json
from functools import cached_property

import numpy as np
import xgrammar
from numpy.typing import NDArray

from stemma.control.grammar.guard import IGNORED, check_keywords
from stemma.control.grammar.matcher import Backend, Compiled, Vocabulary, Whitespace
from stemma.control.grammar.parts import read_json
from stemma.control.grammar.tags import modern
from stemma.core.base.errors import GrammarError
from stemma.core.types.grammar import Grammar

FORMATS = frozenset("email date time date-time duration ipv4 ipv6 hostname uuid uri uri-reference".split())


class XGrammarBackend(Backend):
    """Compiles the whole automaton ahead, which may take minutes: so that is always prepared."""

    def __init__(self, vocabulary: Vocabulary, whitespace: Whitespace):
        self._vocabulary = vocabulary
        self._most_blanks = whitespace.most

    @cached_property
    def _tokens(self) -> xgrammar.TokenizerInfo:
        texts, stop_ids = self._vocabulary.tokens.texts, list(self._vocabulary.stop_ids)
        return xgrammar.TokenizerInfo(texts, vocab_size=self._vocabulary.size, stop_token_ids=stop_ids)

    def prepare(self, grammar: Grammar) -> str:
        compiler = xgrammar.GrammarCompiler(self._tokens, max_threads=1, cache_enabled=False)
        try:
            match grammar.kind:
                case "json_schema":
                    schema = read_json(grammar)
                    check_keywords(schema, IGNORED, FORMATS)
                    found = compiler.compile_json_schema(
                        json.dumps(schema),
                        any_whitespace=self._most_blanks != 0,
                        separators=(",", ":"),
                        strict_mode=False,
                        max_whitespace_cnt=self._most_blanks or None,
                    )
                case "regex":
                    found = compiler.compile_regex(grammar.source)
                case "ebnf":
                    found = compiler.compile_grammar(grammar.source)
                case "structural_tag":
                    self._check_special(grammar.source)
                    tag = read_json(grammar)
                    if isinstance(tag, dict) and "format" not in tag:
                        tag = {"type": "structural_tag", "format": modern(tag)}
                    tag = json.loads(json.dumps(tag), object_hook=self._bounded)
                    found = compiler.compile_structural_tag(json.dumps(tag))
        except (RuntimeError, ValueError) as error:
            raise GrammarError(f"{grammar.kind}: {error}") from None
        return str(found.serialize_json())

    def _bounded(self, part: dict[str, object]) -> dict[str, object]:
        """A part of a tag. A schema has a bound of its whitespace."""
        if part.get("type") != "json_schema":
            return part
        if self._most_blanks == 0:
            raise GrammarError("structural_tag: xgrammar serves no schema in it without whitespace; allow one")
        return {**part, "max_whitespace_cnt": self._most_blanks}

    def _check_special(self, source: str) -> None:
        for text in self._vocabulary.special:
            if text in source:
                raise GrammarError(f"structural_tag: xgrammar serves no special token in a text, and {text} is one")

    def load(self, grammar: Grammar, prepared: str) -> Compiled:
        found = xgrammar.CompiledGrammar.deserialize_json(prepared, self._tokens)
        return Compiled(lambda: XGrammarMatcher(xgrammar.GrammarMatcher(found), self._vocabulary))


class XGrammarMatcher:
    def __init__(self, state: xgrammar.GrammarMatcher, vocabulary: Vocabulary):
        self._state = state
        self._vocabulary = vocabulary

    @property
    def is_complete(self) -> bool:
        return bool(self._state.is_completed())

    @property
    def is_over(self) -> bool:
        if self._state.is_terminated():
            return True
        words = np.zeros(self._vocabulary.words, np.uint32)
        self.fill_mask(words)
        return self.is_complete and int(np.bitwise_count(words).sum()) == len(self._vocabulary.stop_ids)

    def fill_mask(self, words: NDArray[np.uint32]) -> None:
        words[:] = 0
        if self._state.is_terminated():
            for token in self._vocabulary.stop_ids:
                words[token // 32] |= np.uint32(1 << token % 32)
        elif not self._state.fill_next_token_bitmask(words.view(np.int32)[None]):
            words[:] = 0xFFFFFFFF  # the library writes nothing where everything is allowed

    def accept(self, token: int) -> bool:
        if self._state.is_terminated():
            return token in self._vocabulary.stop_ids
        return bool(self._state.accept_token(token))

    def forced(self) -> bytes:
        try:
            return b"" if self._state.is_terminated() else self._state.find_jump_forward_string().encode()
        except UnicodeDecodeError:  # inside a character
            return b""
