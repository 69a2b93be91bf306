"""Several prompts, each with several continuations, as one stream of chunks; and what the chunks add up to."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from stemma.core.base.errors import BadRequest, Busy, EngineDead, StemmaError
from stemma.core.types.output import Finish, Logprob, TextChunk, Usage
from stemma.core.types.tokens import WIDTH
from stemma.front.dialect.bounds import ENTRY_BYTES, MAX_ENTRIES, MAX_TOKENS, ROW_BYTES, TOKEN_BYTES
from stemma.front.service.collect import Pending
from stemma.front.service.promise import Certificate, Message, certify
from stemma.front.service.service import Service
from stemma.front.service.work import Work

Chunks = AsyncGenerator[TextChunk, None]
Watch = Callable[[Chunks, bool], Chunks]
Take = Callable[[int], None]  # hears how many bytes more a request holds; raises when there is no room for them


@dataclass(slots=True, eq=False)
class Progress:
    """One continuation, so far. Owned by the handler that streams it. `take` hears what its log-probabilities hold."""

    id: str
    take: Take = lambda size: None
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)
    prompt_logprobs: list[Logprob] = field(default_factory=list)
    finish: Finish | None = None
    usage: Usage = field(default_factory=Usage)
    output: int = 0  # tokens so far, also those that were forgotten
    thought: int = 0  # those of them that are the model's thoughts
    has_begun: bool = False
    forgotten: list[str] = field(default_factory=list)

    @property
    def whole(self) -> str:
        """The text, with what was forgotten of it."""
        return "".join([*self.forgotten, self.text])

    def add(self, chunk: TextChunk) -> None:
        self.has_begun = True
        if told := (chunk.prompt_logprobs or chunk.logprobs):
            entries = 1 + len(told[-1].top) + len(told[-1].chosen)
            self.take(ENTRY_BYTES * entries * (len(chunk.prompt_logprobs) + len(chunk.logprobs)))
        self.text += chunk.text
        self.tokens += chunk.tokens
        self.logprobs += chunk.logprobs
        self.prompt_logprobs += chunk.prompt_logprobs
        self.finish = chunk.finish
        self.usage = chunk.usage or self.usage
        self.output = chunk.usage.output if chunk.finish and chunk.usage else self.output + len(chunk.tokens)

    def forget(self) -> None:
        """What was told need not be told again: streams of deltas. The prompt's logprobs stay."""
        self.forgotten.append(self.text)
        self.text = ""
        self.tokens.clear()
        self.logprobs.clear()


class Runs:
    """Runs the works of a request side by side. Every door that generates goes through here.

    `watch` stands between: it sees every chunk of a continuation, and whether the client wanted a stream.
    """

    def __init__(self, service: Service, stream_interval: int = 1, watch: Watch | None = None):
        self._service = service
        self._stream_interval = stream_interval
        self._watch = watch or (lambda chunks, is_streaming: chunks)

    async def chunks(self, works: Sequence[Work], is_streaming: bool) -> AsyncGenerator[tuple[int, TextChunk], None]:
        """Every chunk, with the number of its work; closing it aborts all.

        Raises what is refused. Nothing is told before each work that has a grammar is accepted: the engine speaks
        of it only when the grammar was compiled.
        """
        check_size(works)
        unheard = {number for number, work in enumerate(works) if work.promise}
        for work in works:
            if work.promise:
                await work.promise.check(self._service.judge)
        interval = self._stream_interval if is_streaming else 1
        streams = [self._service.stream(work) for work in works]
        if interval > 1:
            streams = [spaced(stream, interval) for stream in streams]
        streams = [self._watch(stream, is_streaming) for stream in streams]
        held: list[tuple[int, TextChunk]] = []
        async with aclosing(merged(streams)) as found:
            async for number, chunk in found:
                if failed := refusal(chunk.finish):
                    raise failed
                unheard.discard(number)
                held.append((number, chunk))
                while held and not unheard:
                    yield held.pop(0)

    async def answers(self, works: Sequence[Work], take: Take = lambda size: None) -> list[list[Progress]]:
        """All continuations of each work, whole."""
        answers = [[Progress(work.id_of(index), take) for index in range(work.n)] for work in works]
        async with aclosing(self.chunks(works, is_streaming=False)) as chunks:
            async for number, chunk in chunks:
                answers[number][chunk.index].add(chunk)
        return answers

    async def certificate(self, work: Work, answer: Progress, message: Message) -> Certificate | None:
        """Of an answer that has ended; None when it could be anything."""
        if work.promise is None:
            return None
        return await certify(work.promise, message, answer.finish, answer.usage, self._service.judge)


async def spaced(chunks: Chunks, interval: int) -> AsyncGenerator[TextChunk, None]:
    """Chunks of at least `interval` tokens each; the first of a continuation, and its end, come at once."""
    waiting: dict[int, Pending] = {}  # what each continuation has to say
    async with aclosing(chunks):
        async for chunk in chunks:
            pending = waiting.get(chunk.index)
            if pending is None:
                waiting[chunk.index] = Pending()
                yield chunk
                continue
            pending.add(chunk)
            if chunk.finish is not None or len(pending.tokens) >= interval:
                waiting[chunk.index] = Pending()
                yield pending.take(chunk.id, chunk.index)


async def merged(streams: Sequence[Chunks]) -> AsyncGenerator[tuple[int, TextChunk], None]:
    """The chunks of all streams as they come. The first failure ends all streams.

    A reader who is slow makes the streams wait, where what they have to say is joined.
    """
    if len(streams) == 1:
        async with aclosing(streams[0]) as stream:
            async for chunk in stream:
                yield 0, chunk
        return
    queue: asyncio.Queue[tuple[int, TextChunk | Exception | None]] = asyncio.Queue(maxsize=1)

    async def pump(number: int, stream: Chunks) -> None:
        try:
            async with aclosing(stream):
                async for chunk in stream:
                    await queue.put((number, chunk))
            await queue.put((number, None))
        except Exception as error:
            await queue.put((number, error))

    tasks = [asyncio.create_task(pump(number, stream)) for number, stream in enumerate(streams)]
    try:
        running = len(tasks)
        while running:
            number, said = await queue.get()
            if isinstance(said, Exception):
                raise said
            if said is None:
                running -= 1
            else:
                yield number, said
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def check_size(works: Sequence[Work]) -> int:
    """How many bytes a request holds while it waits. Raises for more than should be kept for one.

    Each continuation waits in the engine with tokens of its own; here a log-probability takes two hundred bytes.
    """
    tokens = sum(len(work.tokens) // WIDTH * work.n for work in works)
    if tokens > MAX_TOKENS:
        raise BadRequest(
            f"the prompts have {tokens} tokens, counted for each of their n continuations; "
            f"send at most {MAX_TOKENS} at once",
            "n",
        )
    entries = sum(map(most_entries, works))
    if entries > MAX_ENTRIES:
        raise BadRequest(
            f"the answers may tell {entries} log-probabilities, and {MAX_ENTRIES} are the most; "
            "ask for fewer at each position, for shorter answers, or for fewer prompts at once",
            "logprobs",
        )
    return ROW_BYTES * sum(work.n for work in works) + TOKEN_BYTES * tokens


def most_entries(work: Work) -> int:
    """How many log-probabilities the answers to a work may tell."""
    spec = work.logprobs
    if spec is None:
        return 0
    scored = len(work.tokens) // WIDTH - spec.start if spec.start >= 0 else 0
    return work.n * (scored + (work.sampling.max_new_tokens or 0)) * (1 + spec.top + len(spec.token_ids))


def refusal(finish: Finish | None) -> StemmaError | None:
    """What to raise for an end that is not an answer: the engine refused the request, or died with it."""
    if finish is None or finish.code == 200:
        return None
    message = str(finish.detail or "the request was aborted")
    if finish.code == 503:
        return Busy(message) if finish.reason == "abort" else EngineDead(message)
    return BadRequest(message) if 400 <= finish.code < 500 else StemmaError(message)
