"""The one path that every door takes: check, submit, collect."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

import msgspec

from stemma.core.base.errors import BadRequest, Bug
from stemma.core.types.control import Reply, Stats
from stemma.core.types.output import TextChunk, TokenChunk
from stemma.core.types.request import Abort, Request
from stemma.core.types.sampling import MAX_STOPS, LogprobSpec, SamplingParams
from stemma.core.types.tokens import pack
from stemma.front.service.client import EngineClient
from stemma.front.service.collect import Collector, Mailbox
from stemma.front.service.judge import Judge
from stemma.front.service.prepare import check_id, check_logprobs, check_n, check_prompt, seed_of, settle
from stemma.front.service.promise import Promise
from stemma.front.service.work import Work
from stemma.front.text.stop import Stops
from stemma.front.text.template import ChatTemplate
from stemma.front.text.tokenizer import Tokenizer

FLUSH_RETRY_SECONDS = 0.05
PROBE = "HEALTH_CHECK"  # what ids of the service's own requests begin with


class Service:
    """Text in, text out, over one engine. Used from one event loop; `work` alone may be called in a thread."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | None, client: EngineClient):
        self.tokenizer = tokenizer
        self.template = template
        self.client = client
        self.judge = Judge()

    def work(
        self,
        *,
        text: str | None = None,
        tokens: Sequence[int] | None = None,
        sampling: SamplingParams,
        is_length_asked: bool = True,
        id: str | None = None,
        n: int = 1,
        promise: Promise | None = None,
        logprobs: LogprobSpec | None = None,
        priority: int = 0,
        salt: str = "",
        shown: tuple[int, ...] = (),
    ) -> Work:
        """A request that an engine can serve. Raises BadRequest (TooLong) with the reason when it cannot be.

        `is_length_asked`: whether max_new_tokens is a wish, or a default that may be cut to what fits.
        Takes as long as tokenizing `text` does. EngineDead while there is no engine.
        """
        ready = self.client.require_ready()
        if (text is None) == (tokens is None):
            raise BadRequest("give either text or token ids", "text")
        prompt = self.tokenizer.encode(text) if text is not None else tokens or ()
        check_prompt(prompt, ready)
        check_n(n)
        seed = secrets.randbits(63)
        settled = settle(self._with_hidden_stops(sampling), len(prompt), seed, ready, is_length_asked)
        if logprobs is not None:
            check_logprobs(logprobs, len(prompt), ready.vocab_size)
        Stops(sampling.stop, sampling.stop_regex)  # a pattern that cannot be used is refused now
        work = Work(
            id=secrets.token_hex(16) if id is None else id,
            tokens=pack(prompt),
            sampling=settled,
            n=n,
            promise=promise,
            logprobs=logprobs,
            priority=priority,
            salt=salt,
            shown=shown,
        )
        check_id(work.id)
        self._check_is_new(work)
        return work

    async def stream(self, work: Work) -> AsyncGenerator[TextChunk, None]:
        """All continuations, merged as they come; each ends with exactly one chunk that has a finish.

        Closing the generator, or cancelling whoever waits for it, aborts what is unfinished; so read it
        inside `aclosing`. A reader who is slow gets fewer and larger chunks.
        """
        self._check_is_new(work)
        stops = Stops(work.sampling.stop, work.sampling.stop_regex)
        mailbox = Mailbox()
        collectors: list[Collector] = []
        try:
            for index, request in enumerate(_requests(work)):
                collector = Collector(request.id, index, self.tokenizer, work.sampling, stops, work.shown)
                self.client.submit(request, partial(self._hear, collector, mailbox))
                collectors.append(collector)
            unfinished = work.n
            while unfinished:
                chunk = await mailbox.take()
                unfinished -= chunk.finish is not None
                yield chunk
        finally:
            for collector in collectors:
                if not collector.is_finished:
                    self.client.abort(Abort(id=collector.id, reason="left"))

    def abort(self, id_prefix: str, abort_all: bool = False) -> int:
        """Abort what is in flight and has an id that begins so; returns how many there were."""
        ids = [id for id in self.client.ids() if abort_all or (id_prefix and id.startswith(id_prefix))]
        for id in ids:
            self.client.abort(Abort(id=id, reason="asked"))
        return len(ids)

    async def flush(self, timeout_seconds: float) -> Reply:
        """Empty the cache; waits at most so long until nothing runs."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        while not (reply := await self.client.flush()).ok and loop.time() < deadline:
            await asyncio.sleep(FLUSH_RETRY_SECONDS)
        return reply

    async def stats(self) -> Stats:
        reply = await self.client.stats()
        if reply.stats is None:
            raise Bug("the engine answered AskStats without stats")
        return reply.stats

    def close(self) -> None:
        self.client.close()
        self.judge.close()

    async def is_alive(self, timeout_seconds: float) -> bool:
        """Whether the engine, asked for one token, says anything at all before the time is over."""
        if self.client.ready is None:
            return False
        heard = self.client.num_heard
        sampling = SamplingParams(max_new_tokens=1, temperature=0.0, ignore_eos=True)
        try:
            work = self.work(tokens=[0], sampling=sampling, id=f"{PROBE}_{secrets.token_hex(8)}")
            async with asyncio.timeout(timeout_seconds), aclosing(self.stream(work)) as chunks:
                async for _ in chunks:
                    pass
        except TimeoutError:
            return self.client.num_heard > heard
        return self.client.ready is not None

    def _hear(self, collector: Collector, mailbox: Mailbox, chunk: TokenChunk) -> None:
        try:
            news, abort = collector.add(chunk)
        except Exception as error:  # whoever reads is told
            mailbox.fail(error)
            return
        mailbox.put(news)
        if abort is not None:
            self.client.abort(abort)

    def _with_hidden_stops(self, sampling: SamplingParams) -> SamplingParams:
        """A stop string that is a special token never shows in text that leaves these out: its id stops instead."""
        if not sampling.skip_special_tokens:
            return sampling
        ids = [self.tokenizer.id_of(stop) for stop in sampling.stop]
        hidden = [id for id in ids if id in self.tokenizer.special_ids and id not in sampling.stop_token_ids]
        if len(sampling.stop_token_ids) + len(hidden) > MAX_STOPS:
            raise BadRequest(f"more than {MAX_STOPS} tokens are to stop the answer; name fewer", "stop_token_ids")
        return msgspec.structs.replace(sampling, stop_token_ids=(*sampling.stop_token_ids, *hidden))

    def _check_is_new(self, work: Work) -> None:
        for index in range(work.n):
            self.client.check_is_new(work.id_of(index))


def _requests(work: Work) -> list[Request]:
    seed = work.sampling.sampling_seed
    if seed is None:
        raise Bug("a Work without a seed was not made by Service.work")
    return [
        Request(
            id=work.id_of(index),
            tokens=work.tokens,
            sampling=msgspec.structs.replace(work.sampling, sampling_seed=seed_of(seed, index)),
            grammar=work.promise.grammar if work.promise else None,
            logprobs=work.logprobs,
            priority=work.priority,
            salt=work.salt,
        )
        for index in range(work.n)
    ]
