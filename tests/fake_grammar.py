"""Grammars that are lists of whole answers, over forty tokens: slow, and plain to see.

An answer matches when it is in the list. All else follows: a token may come when some answer begins with the
text and it; text is forced when all answers that begin so go on with it.
"""

import json
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from stemma.control.grammar.forced import Speller
from stemma.control.grammar.matcher import Compiled, Matcher
from stemma.control.spelling.tokens import Tokens, read_tokens
from stemma.core.base.errors import GrammarError
from stemma.core.types.grammar import Grammar
from tests.scheduler_harness import STOP_IDS, VOCAB_SIZE

PAIRS = [("a", "b"), ("c", "d"), ("ab", "cd"), ("b", "c"), ("{", '"'), ('"', ":"), ("Ġ", '"'), ('"', ","), ('"', "}")]
TEXTS = [*'abcdef{}":,Ġ', *(first + second for first, second in PAIRS)]


def tokenizer() -> Tokenizer:
    """Byte-level pieces on the first ids that end nothing, merged in the order of PAIRS."""
    ids = [token for token in range(VOCAB_SIZE) if token not in STOP_IDS]
    made = Tokenizer(models.BPE(vocab=dict(zip(TEXTS, ids, strict=False)), merges=PAIRS))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


TOKENS: Tokens = read_tokens(tokenizer().to_str(), VOCAB_SIZE)


def listed(*answers: str) -> Grammar:
    return Grammar("ebnf", json.dumps(answers))


def text_of(tokens: list[int]) -> str:
    return b"".join(TOKENS.texts[token] for token in tokens).decode()


class ListMatcher:
    """See control/grammar/matcher.py for what each of these promises."""

    def __init__(self, answers: list[str]):
        self._left = [answer.encode() for answer in answers]
        self._text = b""
        self._has_ended = False

    @property
    def is_complete(self) -> bool:
        return self._text in self._left

    @property
    def is_over(self) -> bool:
        return self._has_ended or self._left == [self._text]

    def fill_mask(self, words: NDArray[np.uint32]) -> None:
        words[:] = 0
        for token in range(VOCAB_SIZE):
            if self._begins(token) or (token in STOP_IDS and self.is_complete):
                words[token // 32] |= np.uint32(1 << token % 32)

    def accept(self, token: int) -> bool:
        if token in STOP_IDS and self.is_complete:
            self._has_ended = True
            return True
        if self._has_ended or not self._begins(token):
            return False
        self._text += TOKENS.texts[token]
        self._left = [answer for answer in self._left if answer.startswith(self._text)]
        return True

    def forced(self) -> bytes:
        shortest = min(self._left, key=len)
        ends = (end for end in range(len(shortest), 0, -1) if all(a.startswith(shortest[:end]) for a in self._left))
        return shortest[len(self._text) : next(ends, 0)]

    def _begins(self, token: int) -> bool:
        text = TOKENS.texts[token]
        return text != b"" and any(answer.startswith(self._text + text) for answer in self._left)


class ListCompilation:
    def __init__(self, grammar: Grammar, is_ready: Callable[[], bool]):
        self._grammar = grammar
        self._is_ready = is_ready

    @property
    def ready(self) -> bool:
        return self._is_ready()

    def result(self) -> Compiled:
        answers = json.loads(self._grammar.source)
        if not answers:
            raise GrammarError("ebnf: no answer matches")
        return Compiled(lambda: ListMatcher(answers))


class ListCompiler:
    """`holds(grammar)` says of each grammar whether it is still being compiled."""

    def __init__(self, holds: Callable[[Grammar], bool] = lambda grammar: False):
        self._holds = holds
        self.is_closed = False
        self.speller = Speller(TOKENS)

    def prepare(self) -> None:
        """Nothing is large."""

    def start(self, grammar: Grammar) -> ListCompilation:
        return ListCompilation(grammar, lambda: not self._holds(grammar))

    def fill_masks(self, matchers: Sequence[Matcher], words_NW: NDArray[np.uint32]) -> None:
        for matcher, words_W in zip(matchers, words_NW, strict=True):
            matcher.fill_mask(words_W)

    def close(self) -> None:
        self.is_closed = True
