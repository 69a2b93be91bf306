"""Text as tokens: what a model said keeps the tokens in which it was said.

The text between is tokenised apart, as text that stands behind other text. So what comes later begins with the very
tokens whose keys and values are cached, also where the text as a whole would be tokenised otherwise.
"""

from collections.abc import Sequence
from functools import cached_property
from threading import Lock
from typing import Protocol

from stemma.front.lang.errors import Refused
from stemma.front.lang.settings import global_config
from stemma.front.lang.transcript import Said, Transcript

MAX_CHARACTERS = 4 << 20  # of texts whose tokens are remembered
LOOK_BACK = 16  # tokens that are tried at once where a stop string has cut a text

Tokens = list[int]


class Vocabulary(Protocol):
    """The tokenizer of a backend. Raises Refused where it cannot be asked."""

    def encode(self, texts: Sequence[str], add_special_tokens: bool) -> list[Tokens]: ...

    def decode(self, tokens: Sequence[Tokens], skip_special_tokens: bool) -> list[str]: ...


class Speller:
    """Spells transcripts with the vocabulary of one backend. Used from many threads."""

    def __init__(self, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self._known: dict[tuple[str, bool], Tokens] = {}  # the text between two generations mostly comes again
        self._characters = 0
        self._lock = Lock()

    def spell(self, transcript: Transcript, endings: Sequence[str] = ("",)) -> list[Tokens] | None:
        """The tokens of the text, followed by each of the endings.

        None: the vocabulary cannot spell text apart from what stands before it.
        """
        if transcript.said and self._anchor is None:
            return None
        tokens: Tokens = []
        at = 0
        for said in transcript.said:
            if said.is_cut:
                self._fit(said, transcript.text)
            tokens += self._encoded([transcript.text[at : said.begin]], at == 0)[0] + said.tokens
            at = said.end
        rest = transcript.text[at:]
        return [tokens + ending for ending in self._encoded([rest + ending for ending in endings], at == 0)]

    def _encoded(self, texts: Sequence[str], is_first: bool) -> list[Tokens]:
        """The tokens of texts. Those that are not the first of all have no token and no space put before them."""
        with self._lock:
            found = {text: self._known[text, is_first] for text in texts if (text, is_first) in self._known}
        if missing := [text for text in dict.fromkeys(texts) if text and text not in found]:
            anchor = "" if is_first else self._anchor or ""
            spelled = self._vocabulary.encode([anchor + text for text in ("", *missing)], is_first)
            cut = len(spelled[0]) if anchor else 0
            found |= {text: tokens[cut:] for text, tokens in zip(missing, spelled[1:], strict=True)}
            with self._lock:
                self._characters += sum(map(len, missing))
                if self._characters > MAX_CHARACTERS:
                    self._known, self._characters = {}, sum(map(len, missing))
                self._known |= {(text, is_first): found[text] for text in missing}
        return [found[text] if text else [] for text in texts]

    def _fit(self, said: Said, text: str) -> None:
        """Keep of the tokens as many as make up the text that a stop string has left.

        Where it has cut a token in two, that one goes, and what is left of its text is spelled anew.
        """
        heard = text[said.begin : said.end]
        for end in range(len(said.tokens), 0, -LOOK_BACK):
            tries = [said.tokens[:size] for size in range(end, max(end - LOOK_BACK, 0), -1)]
            texts = self._vocabulary.decode(tries, global_config.skip_special_tokens_in_output)
            for tokens, found in zip(tries, texts, strict=True):
                if heard.startswith(found):
                    said.tokens, said.end, said.is_cut = tokens, said.begin + len(found), False
                    return
        said.tokens, said.end, said.is_cut = [], said.begin, False

    @cached_property
    def _anchor(self) -> str | None:
        """What to put before a text so that it is spelled as one that goes on; None where nothing helps.

        Vocabularies of text put a space before whatever they encode. A line feed before it, a token of its own,
        takes that away.
        """
        try:
            alone, feed, behind = self._vocabulary.encode(["a", "\n", "\na"], False)
            joined = self._vocabulary.decode([alone + alone, alone + behind[len(feed) :]], True)
        except Refused:  # a server that has no door to its tokenizer
            return None
        if joined[0] == "aa":
            return ""
        return "\n" if joined[1] == "aa" and behind[: len(feed)] == feed else None


def common(one: Tokens, other: Tokens) -> int:
    """With how many tokens both begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))
