"""Token chunks to text chunks, one sequence at a time; and the place where they wait for a reader."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec

from stemma.core.types.output import Finish, Logprob, TextChunk, TokenChunk, Usage
from stemma.core.types.request import Abort
from stemma.core.types.sampling import SamplingParams
from stemma.front.text.detokenize import detokenizer
from stemma.front.text.stop import StopFinder, Stops
from stemma.front.text.tokenizer import Tokenizer


class Collector:
    """One continuation: detokenizes it and looks for its stops.

    When a stop string or pattern is found, all tokens after it are dropped. The finish then says "stop"
    even when the engine came to another end meanwhile: how fast an abort travels never shows.
    """

    def __init__(
        self, id: str, index: int, tokenizer: Tokenizer, sampling: SamplingParams, stops: Stops,
        shown: Collection[int] = (),
    ):  # fmt: skip
        self.id = id
        self.is_finished = False  # the engine has said its last word
        self._index = index
        self._trims = not sampling.no_stop_trim
        self._text = detokenizer(tokenizer, sampling.skip_special_tokens, shown)
        self._finder = StopFinder(stops, self._trims)
        self._count = 0  # output tokens that count

    def add(self, chunk: TokenChunk) -> tuple[TextChunk, Abort | None]:
        """What is new for the reader, perhaps nothing; and what to tell the engine when a stop was found."""
        self.is_finished = chunk.finish is not None
        before = self._count
        was_found = self._finder.found is not None
        text = "" if was_found else self._read(chunk)
        kept = self._count - before
        news = TextChunk(
            id=self.id,
            index=self._index,
            text=text,
            tokens=chunk.tokens[:kept],
            logprobs=chunk.logprobs[:kept],
            prompt_logprobs=chunk.prompt_logprobs,
            finish=self._judge(chunk.finish),
            usage=self._bill(chunk),
        )
        if was_found or self._finder.found is None:
            return news, None
        return news, Abort(id=self.id, reason="stop", keep=self._count, matched=self._finder.found)

    def _read(self, chunk: TokenChunk) -> str:
        """Count the chunk's tokens, up to the first stop, and return what may be said of their text."""
        texts: list[str] = []
        stop_token = chunk.finish.detail if chunk.finish is not None and chunk.finish.reason == "stop" else None
        for at, token in enumerate(chunk.tokens):
            self._count += 1
            if self._trims and token == stop_token and at == len(chunk.tokens) - 1:
                break  # it counts, but is not said
            texts.append(self._finder.add(self._text.add(token)))
            if self._finder.found is not None:
                # When the match ends in what earlier tokens still owed, this one came in vain.
                self._count -= self._finder.found_within <= self._text.late
                return "".join(texts)
        if chunk.finish is not None:
            texts.append(self._finder.add(self._text.finish()))
            texts.append(self._finder.finish())
        return "".join(texts)

    def _judge(self, finish: Finish | None) -> Finish | None:
        if finish is None or self._finder.found is None or finish.reason not in ("stop", "length"):
            return finish
        return Finish(reason="stop", detail=self._finder.found)

    def _bill(self, chunk: TokenChunk) -> Usage | None:
        if chunk.usage is None or self._finder.found is None:
            return chunk.usage
        output = min(chunk.usage.output, self._count)
        return msgspec.structs.replace(chunk.usage, output=output, forced=min(chunk.usage.forced, output))


@dataclass(slots=True, eq=False)
class Pending:
    """What one continuation has to say and nobody has read yet, merged."""

    texts: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)
    prompt_logprobs: list[Logprob] = field(default_factory=list)
    finish: Finish | None = None
    usage: Usage | None = None

    def add(self, chunk: TextChunk) -> None:
        self.texts.append(chunk.text)
        self.tokens += chunk.tokens
        self.logprobs += chunk.logprobs
        self.prompt_logprobs += chunk.prompt_logprobs
        self.finish = chunk.finish
        self.usage = chunk.usage or self.usage

    def take(self, id: str, index: int) -> TextChunk:
        return TextChunk(
            id=id,
            index=index,
            text="".join(self.texts),
            tokens=tuple(self.tokens),
            logprobs=tuple(self.logprobs),
            prompt_logprobs=tuple(self.prompt_logprobs),
            finish=self.finish,
            usage=self.usage,
        )


class Mailbox:
    """Between continuations that run and a reader who may be slow: holds at most one chunk of each."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int], TextChunk | Pending] = {}  # the one that waits longest first
        self._reader: asyncio.Future[None] | None = None  # who waits for mail
        self._error: Exception | None = None

    def put(self, chunk: TextChunk) -> None:
        if chunk.text or chunk.tokens or chunk.prompt_logprobs or chunk.finish or chunk.usage:
            key = chunk.id, chunk.index
            before = self._waiting.setdefault(key, chunk)
            if isinstance(before, Pending):
                before.add(chunk)
            elif before is not chunk:
                whole = self._waiting[key] = Pending()
                whole.add(before)
                whole.add(chunk)
            self._call()

    def fail(self, error: Exception) -> None:
        """Whoever reads gets this instead."""
        self._error = error
        self._call()

    async def take(self) -> TextChunk:
        while not self._waiting or self._error is not None:
            if self._error is not None:
                raise self._error
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        key = next(iter(self._waiting))
        found = self._waiting.pop(key)
        return found.take(*key) if isinstance(found, Pending) else found

    def _call(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
