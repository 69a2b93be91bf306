"""`/v1/chat/completions`."""

import time
from collections.abc import Sequence
from contextlib import aclosing

from starlette.types import ASGIApp

from stemma.core.base.errors import BadRequest
from stemma.core.config.serve import ServeConfig
from stemma.core.types.output import Finish, Logprob
from stemma.core.types.sampling import LogprobSpec
from stemma.front.dialect.body import decode
from stemma.front.dialect.defaults import Defaults
from stemma.front.dialect.gather import Progress, Runs
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
from stemma.front.server.openai.prompt import tokens_of_chat
from stemma.front.server.openai.schema import (
    AssistantMessage,
    ChatAnswer,
    ChatBody,
    ChatChoice,
    ChatChunk,
    ChatDelta,
    ChatLogprobs,
    ChatToken,
    Delta,
    Metadata,
    TopToken,
)
from stemma.front.server.sse import Events, EventStream, event
from stemma.front.service.service import Service
from stemma.front.service.work import Work


class Chat:
    """Conversations, by the model's chat template."""

    def __init__(self, service: Service, runs: Runs, serve: ServeConfig, defaults: Defaults):
        self._service = service
        self._runs = runs
        self._serve = serve
        self._defaults = defaults.openai

    async def complete(self, call: Call) -> ASGIApp:
        require_json(call)
        body = decode(call.body, ChatBody)
        check_served(body, self._serve)
        work = await aside(call, self._work, body)
        if body.stream:
            return await EventStream.open(self._events(body, work), "openai")
        answers = await self._runs.answers([work])
        return json_response(
            ChatAnswer(
                id=work.id,
                created=int(time.time()),
                model=model_of(body),
                choices=[self._choice(index, answer, body) for index, answer in enumerate(answers[0])],
                usage=usage_of(answers, self._serve.cache_report),
                metadata=Metadata(self._serve.weight_version),
            )
        )

    def _work(self, body: ChatBody) -> Work:
        if body.top_logprobs and not body.logprobs:
            raise BadRequest("top_logprobs: needs logprobs to be true", "top_logprobs")
        wish = sampling_of(body, body.max_completion_tokens or body.max_tokens, None, self._defaults)
        prompt = tokens_of_chat(
            self._service,
            body.messages,
            continue_final_message=bool(body.continue_final_message),
            add_generation_prompt=True,
            chat_template_kwargs=body.chat_template_kwargs or {},
            reasoning_effort=body.reasoning_effort,
        )
        spec = LogprobSpec(top=body.top_logprobs or 0) if body.logprobs else None
        return work_of(self._service, body, prompt, wish, spec, body.rid, "messages")

    def _choice(self, index: int, answer: Progress, body: ChatBody) -> ChatChoice:
        return ChatChoice(
            index=index,
            message=AssistantMessage(content=answer.text),
            logprobs=self._logprobs(answer.logprobs) if body.logprobs else None,
            finish_reason=answer.finish.reason if answer.finish else "abort",
            matched_stop=matched_stop(answer.finish),
        )

    async def _events(self, body: ChatBody, work: Work) -> Events:
        """Per continuation: its role, its text, its end. Then usage, when asked for."""
        answers = [Progress(work.id_of(index)) for index in range(work.n)]
        created, model = int(time.time()), model_of(body)
        started = [False] * work.n

        def chunk_of(*deltas: ChatDelta) -> ChatChunk:
            chunk = ChatChunk(id=work.id, created=created, model=model, choices=list(deltas))
            if body.wants_running_usage or not deltas:
                chunk.usage = usage_of([answers], self._serve.cache_report)
            return chunk

        async with aclosing(self._runs.chunks([work], is_streaming=True)) as chunks:
            async for _, chunk in chunks:
                index, answer = chunk.index, answers[chunk.index]
                answer.add(chunk)
                answer.forget()
                if not started[index]:
                    started[index] = True
                    yield event(chunk_of(ChatDelta(index=index, delta=Delta(role="assistant", content=""))))
                if chunk.text or chunk.logprobs:
                    logprobs = self._logprobs(chunk.logprobs) if body.logprobs else None
                    yield event(chunk_of(ChatDelta(index=index, delta=Delta(content=chunk.text), logprobs=logprobs)))
                if chunk.finish is not None:
                    yield event(chunk_of(ended(index, chunk.finish)))
        if body.wants_usage:
            yield event(chunk_of())

    def _logprobs(self, logprobs: Sequence[Logprob]) -> ChatLogprobs:
        def token(id: int, logprob: float | None) -> TopToken:
            spelled = list(self._service.tokenizer.bytes_of(id))
            return TopToken(self._service.tokenizer.text_of(id), spelled, finite(logprob or 0.0))

        def with_top(item: Logprob) -> ChatToken:
            said = token(item.token, item.logprob)
            return ChatToken(said.token, said.bytes, said.logprob, [token(*pair) for pair in item.top])

        return ChatLogprobs([with_top(item) for item in logprobs])


def ended(index: int, finish: Finish) -> ChatDelta:
    return ChatDelta(index=index, delta=Delta(), finish_reason=finish.reason, matched_stop=matched_stop(finish))


def model_of(body: ChatBody) -> str:
    return body.model or "default"
