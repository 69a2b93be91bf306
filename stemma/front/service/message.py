"""From the text of an answer to an assistant's message: thoughts, content and tool calls."""

from collections.abc import Sequence
from dataclasses import dataclass

from stemma.front.text.calls import CallParser
from stemma.front.text.detokenize import detokenizer
from stemma.front.text.formats import CallFormat, ThoughtFormat
from stemma.front.text.markers import Part
from stemma.front.text.reasoning import ThoughtParser
from stemma.front.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class MessageForm:
    """How the answers to one request are to be read."""

    tokenizer: Tokenizer
    thoughts: ThoughtFormat | None = None  # None: the model has none
    is_thinking: bool = False  # from the first token on: the prompt ends inside of a thought
    separates: bool = True  # False: thoughts stay in the content, tags and all
    calls: CallFormat | None = None  # None: no tools were offered
    tools: tuple[str, ...] = ()
    many: bool = True  # whether more than one call is wanted

    @property
    def shown(self) -> tuple[int, ...]:
        """Special tokens that mark something: they have to be read, even where special tokens are skipped."""
        formats = (self.calls, self.thoughts if self.separates else None)
        ids = [self.tokenizer.id_of(marker) for form in formats if form for marker in (form.begin, form.end)]
        return tuple(id for id in ids if id is not None and id in self.tokenizer.special_ids)

    def thought_parser(self) -> ThoughtParser | None:
        if self.thoughts is None:
            return None
        return ThoughtParser(self.thoughts, self.is_thinking, self.calls.begin if self.calls else None)


class MessageReader:
    """Reads one answer as it comes. Always: the parts depend on the text alone, not on how it was divided."""

    def __init__(self, form: MessageForm):
        self._thoughts = form.thought_parser() if form.separates else None
        self._calls = CallParser(form.calls, form.tools, form.many) if form.calls else None
        self._counter = ThoughtCounter(form)

    @property
    def has_calls(self) -> bool:
        return self._calls is not None and self._calls.count > 0

    @property
    def thought_tokens(self) -> int:
        return self._counter.count

    def read(self, text: str, tokens: Sequence[int], is_end: bool) -> list[Part]:
        self._counter.add(tokens)
        parts = [Part("content", text)] if text else []
        if self._thoughts is not None:
            parts = self._thoughts.add(text) + (self._thoughts.finish() if is_end else [])
        if self._calls is not None:
            parts = [read for part in parts for read in self._read_calls(self._calls, part)]
            parts += self._calls.finish() if is_end else []
        return joined(parts)

    def _read_calls(self, calls: CallParser, part: Part) -> list[Part]:
        return calls.add(part.text) if part.kind == "content" else [part]


class ThoughtCounter:
    """How many tokens the model thinks, the tags included; token by token, since pieces of text have no borders."""

    def __init__(self, form: MessageForm):
        self._parser = form.thought_parser()
        self._text = detokenizer(form.tokenizer, skip_special_tokens=False)
        self._is_over = self._parser is None
        self._seen = 0
        self.count = 0

    def add(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            if self._parser is None or self._is_over:
                return
            was_thinking = self._parser.place == "thought"
            self._parser.add(self._text.add(token))
            self._seen += 1
            self._is_over = self._parser.place == "answer"
            if was_thinking or self._parser.place == "thought":
                self.count = self._seen


def joined(parts: Sequence[Part]) -> list[Part]:
    """Neighbours of one kind and call as one."""
    whole: list[Part] = []
    for part in parts:
        last = whole[-1] if whole else None
        if last is not None and part.kind != "call" and (last.kind, last.call) == (part.kind, part.call):
            whole[-1] = Part(part.kind, last.text + part.text, part.call)
        else:
            whole.append(part)
    return whole
