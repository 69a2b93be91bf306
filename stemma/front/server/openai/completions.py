"""`/v1/completions`."""

import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from starlette.types import ASGIApp

from stemma.core.base.errors import BadRequest
from stemma.core.config.serve import ServeConfig
from stemma.core.types.output import Logprob
from stemma.core.types.sampling import LogprobSpec
from stemma.core.types.tokens import unpack
from stemma.front.dialect.body import decode
from stemma.front.dialect.bounds import MAX_BATCH
from stemma.front.dialect.constraint import promise_of
from stemma.front.dialect.defaults import Defaults
from stemma.front.dialect.gather import Progress, Runs, check_size
from stemma.front.dialect.prompts import Prompt, request_ids, token_lists
from stemma.front.server.endpoint import Call, aside
from stemma.front.server.errors import json_response
from stemma.front.server.openai.common import (
    check_served,
    finite,
    matched_stop,
    require_json,
    sampling_of,
    usage_of,
    work_of,
)
from stemma.front.server.openai.constraint import content_of
from stemma.front.server.openai.schema import CompletionBody, Metadata, TextAnswer, TextChoice, TextLogprobs
from stemma.front.server.sse import Events, EventStream, event
from stemma.front.service.promise import Message
from stemma.front.service.service import Service
from stemma.front.service.work import Work

SHORT = 16  # max_tokens of a request that names none


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt, ready to run. `echo` stands before each of its texts; the first of them has number `first`."""

    work: Work
    echo: str
    first: int


class Completions:
    """Texts that go on."""

    def __init__(self, service: Service, runs: Runs, serve: ServeConfig, defaults: Defaults):
        self._service = service
        self._runs = runs
        self._serve = serve
        self._defaults = defaults.openai

    async def complete(self, call: Call) -> ASGIApp:
        require_json(call)
        body, items = await aside(call, self._read, call.body)
        call.take(check_size([item.work for item in items]))
        if body.stream:
            return await EventStream.open(self._events(body, items), "openai")
        answers = await self._runs.answers([item.work for item in items], call.take)
        whole = self._answer(body, items[0].work.id, int(time.time()))
        for item, of in zip(items, answers, strict=True):
            whole.choices += [await self._choice(body, item, index, answer, True) for index, answer in enumerate(of)]
        whole.usage = usage_of(answers, self._serve.cache_report)
        whole.metadata = Metadata(self._serve.weight_version)
        return json_response(whole)

    def _answer(self, body: CompletionBody, id: str, created: int) -> TextAnswer:
        return TextAnswer(id=body.rid or id, created=created, model=body.model or "default", choices=[])

    def _read(self, content: bytes) -> tuple[CompletionBody, list[Item]]:
        body = decode(content, CompletionBody)
        check_served(body, self._serve)
        items = self._items(body)
        body.prompt = []  # not to be held while it is answered
        return body, items

    def _items(self, body: CompletionBody) -> list[Item]:
        prompts, is_batch = read_prompts(body)
        wish = sampling_of(body, body.max_tokens, SHORT, self._defaults)
        n = wish.n
        if body.best_of not in (None, n):
            raise BadRequest(f"best_of: {body.best_of} of {n} is not served yet; leave it out", "best_of")
        if len(prompts) * n > MAX_BATCH:
            raise BadRequest(f"n: more than {MAX_BATCH} continuations in one request", "n")
        spec = None if body.logprobs is None else LogprobSpec(start=0 if body.echo else -1, top=body.logprobs)
        promise = promise_of(content_of(body, wish))
        items: list[Item] = []
        for prompt, id in zip(prompts, request_ids(body.rid, len(prompts), is_batch), strict=True):
            where = f"prompt[{len(items)}]" if is_batch else "prompt"
            work = work_of(self._service, body, prompt, wish, promise, spec, id, where)
            items.append(Item(work, self._echo(prompt, work) if body.echo else "", len(items) * n))
        return items

    def _echo(self, prompt: Prompt, work: Work) -> str:
        return prompt if isinstance(prompt, str) else self._service.tokenizer.decode(unpack(work.tokens))

    async def _choice(
        self, body: CompletionBody, item: Item, index: int, answer: Progress, is_first: bool
    ) -> TextChoice:
        """What is new of a continuation: its first part carries the echo."""
        logprobs = None
        if body.logprobs is not None:
            logprobs = self._logprobs([*answer.prompt_logprobs, *answer.logprobs], body.logprobs)
        choice = TextChoice(
            index=item.first + index,
            text=item.echo + answer.text if is_first else answer.text,
            logprobs=logprobs,
            finish_reason=answer.finish.reason if answer.finish else None,
            matched_stop=matched_stop(answer.finish),
        )
        if body.certificate and answer.finish:
            choice.certificate = await self._runs.certificate(item.work, answer, Message(answer.whole))
        return choice

    async def _events(self, body: CompletionBody, items: Sequence[Item]) -> Events:
        works = [item.work for item in items]
        answers = [[Progress(work.id_of(index)) for index in range(work.n)] for work in works]
        created = int(time.time())
        async with aclosing(self._runs.chunks(works, is_streaming=True)) as chunks:
            async for number, chunk in chunks:
                answer = answers[number][chunk.index]
                is_first = not answer.has_begun
                answer.add(chunk)
                part = self._answer(body, works[0].id, created)
                part.choices = [await self._choice(body, items[number], chunk.index, answer, is_first)]
                if body.wants_running_usage:
                    part.usage = usage_of(answers, self._serve.cache_report)
                yield event(part)
                answer.forget()
                answer.prompt_logprobs.clear()  # they come in parts, as the prompt is computed
        if body.wants_usage:
            last = self._answer(body, works[0].id, created)
            last.usage = usage_of(answers, self._serve.cache_report)
            yield event(last)

    def _logprobs(self, logprobs: Sequence[Logprob], top: int) -> TextLogprobs:
        text_of = self._service.tokenizer.text_of

        def likeliest(item: Logprob) -> dict[str, float] | None:
            return {text_of(token): finite(value) for token, value in item.top} if top and item.top else None

        return TextLogprobs(
            text_offset=[-1] * len(logprobs),
            token_logprobs=[None if item.logprob is None else finite(item.logprob) for item in logprobs],
            tokens=[text_of(item.token) for item in logprobs],
            top_logprobs=[likeliest(item) for item in logprobs],
        )


def read_prompts(body: CompletionBody) -> tuple[Sequence[Prompt], bool]:
    """The prompts, and whether they came as a batch."""
    if isinstance(body.prompt, str):
        prompts: Sequence[Prompt] = [body.prompt]
        is_batch = False
    else:
        texts = [item for item in body.prompt if isinstance(item, str)]
        ids = [item for item in body.prompt if not isinstance(item, str)]
        if texts and ids:
            raise BadRequest("prompt: texts and token ids are mixed", "prompt")
        prompts, is_batch = (texts, True) if texts else token_lists(ids, "prompt")
    if not prompts or not all(prompts):
        raise BadRequest("Prompt cannot be empty", "prompt")
    if len(prompts) > MAX_BATCH:
        raise BadRequest(f"prompt: a batch has at most {MAX_BATCH} prompts, not {len(prompts)}", "prompt")
    return prompts, is_batch
