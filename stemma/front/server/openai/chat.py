"""`/v1/chat/completions`."""

import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from msgspec import UNSET, UnsetType
from starlette.types import ASGIApp

from stemma.core.base.errors import BadRequest
from stemma.core.config.serve import ServeConfig
from stemma.core.types.output import Logprob
from stemma.core.types.sampling import LogprobSpec
from stemma.front.dialect.body import decode
from stemma.front.dialect.defaults import Defaults
from stemma.front.dialect.gather import Progress, Runs, check_size
from stemma.front.server.endpoint import Call, aside
from stemma.front.server.errors import json_response
from stemma.front.server.openai.common import (
    check_served,
    finite,
    require_json,
    sampling_of,
    usage_of,
    work_of,
)
from stemma.front.server.openai.constraint import content_of, promise_of_message
from stemma.front.server.openai.message import Telling, end_of, message_of, told_of
from stemma.front.server.openai.prompt import THINKING, is_thinking, may_think, prompt_of_chat, tokens_of
from stemma.front.server.openai.schema import (
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
from stemma.front.server.openai.tools import Chosen, check_tools, choose
from stemma.front.server.sse import Events, EventStream, event
from stemma.front.service.message import MessageForm, MessageReader
from stemma.front.service.promise import Certificate
from stemma.front.service.service import Service
from stemma.front.service.work import Work
from stemma.front.text.formats import CALLS, THOUGHTS
from stemma.front.text.tags import Thoughts


class Chat:
    """Conversations, by the model's chat template."""

    def __init__(self, service: Service, runs: Runs, serve: ServeConfig, defaults: Defaults):
        self._service = service
        self._runs = runs
        self._serve = serve
        self._defaults = defaults.openai
        self._thoughts = THOUGHTS[serve.reasoning_parser] if serve.reasoning_parser else None
        self._calls = CALLS[serve.tool_call_parser] if serve.tool_call_parser else None

    async def complete(self, call: Call) -> ASGIApp:
        require_json(call)
        body, work, form = await aside(call, self._read, call.body)
        call.take(check_size([work]))
        if body.stream:
            return await EventStream.open(self._events(body, work, form), "openai")
        answers = await self._runs.answers([work], call.take)
        choices = [self._choice(index, answer, body, form) for index, answer in enumerate(answers[0])]
        for choice, answer in zip(choices, answers[0], strict=True):
            choice.certificate = await self._certificate(body, work, answer, form)
        return json_response(
            ChatAnswer(
                id=work.id,
                created=int(time.time()),
                model=model_of(body),
                choices=choices,
                usage=usage_of(answers, self._serve.cache_report),
                metadata=Metadata(self._serve.weight_version),
            )
        )

    def _read(self, content: bytes) -> tuple[ChatBody, Work, MessageForm]:
        body = decode(content, ChatBody)
        check_served(body, self._serve)
        work, form = self._work(body)
        body.messages, body.tools, body.chat_template_kwargs = [], None, None  # not to be held while they are answered
        return body, work, form

    def _work(self, body: ChatBody) -> tuple[Work, MessageForm]:
        if body.top_logprobs and not body.logprobs:
            raise BadRequest("top_logprobs: needs logprobs to be true", "top_logprobs")
        wish = sampling_of(body, body.max_completion_tokens or body.max_tokens, None, self._defaults)
        chosen = self._chosen(body)
        names = chosen.names
        prompt = self._prompt(body, names, {})
        spec = LogprobSpec(top=body.top_logprobs or 0) if body.logprobs else None
        last = body.messages[-1].get("content") if body.continue_final_message else ""
        said = last if isinstance(last, str) else ""
        form = self._form(body, prompt, said, names)
        content = content_of(body, wish)
        thoughts = self._may_think(body, names, prompt, said, form) if content or chosen.must else None
        promise = promise_of_message(content, chosen, self._calls, thoughts)
        tokens = tokens_of(self._service, prompt)
        return work_of(self._service, body, tokens, wish, promise, spec, body.rid, "messages", form.shown), form

    def _prompt(self, body: ChatBody, names: Sequence[str], options: Mapping[str, object]) -> str:
        return prompt_of_chat(
            self._service,
            body.messages,
            tools=body.tools if names else None,
            continue_final_message=bool(body.continue_final_message),
            add_generation_prompt=True,
            chat_template_kwargs={**(body.chat_template_kwargs or {}), **options},
            reasoning_effort=body.reasoning_effort,
        )

    def _may_think(
        self, body: ChatBody, names: Sequence[str], prompt: str, said: str, form: MessageForm
    ) -> Thoughts | None:
        """Thoughts are on where the prompt has begun one, or where to turn them on would not change the prompt."""
        if self._thoughts is None:
            return None
        if form.is_thinking:
            return Thoughts(self._thoughts, is_open=True)
        is_off = body.reasoning_effort == "none" or not may_think(self._thoughts, prompt, said)
        if is_off or self._prompt(body, names, THINKING) != prompt:
            return None
        return Thoughts(self._thoughts, is_open=False)

    def _chosen(self, body: ChatBody) -> Chosen:
        """The tools that may be called."""
        chosen = choose(check_tools(body.tools or []), body.tool_choice, body.parallel_tool_calls is not False)
        if chosen.functions and self._calls is None:
            raise BadRequest(
                "tools: how this model writes calls is not known; serve it with --tool-call-parser, or leave them out",
                "tools",
            )
        return chosen

    def _form(self, body: ChatBody, prompt: str, said: str, names: tuple[str, ...]) -> MessageForm:
        return MessageForm(
            tokenizer=self._service.tokenizer,
            thoughts=self._thoughts,
            is_thinking=self._thoughts is not None and is_thinking(self._thoughts, prompt, said),
            separates=body.separate_reasoning is not False,
            calls=self._calls if names else None,
            tools=names,
            many=body.parallel_tool_calls is not False,
        )

    def _choice(self, index: int, answer: Progress, body: ChatBody, form: MessageForm) -> ChatChoice:
        reader = MessageReader(form)
        message = message_of(reader.read(answer.text, answer.tokens, is_end=True))
        answer.thought = reader.thought_tokens
        reason, matched = end_of(answer.finish, reader)
        return ChatChoice(
            index=index,
            message=message,
            logprobs=self._logprobs(answer.logprobs) if body.logprobs else None,
            finish_reason=reason,
            matched_stop=matched,
        )

    async def _certificate(
        self, body: ChatBody, work: Work, answer: Progress, form: MessageForm
    ) -> Certificate | UnsetType | None:
        if not body.certificate:
            return UNSET
        parts = MessageReader(replace(form, separates=True)).read(answer.whole, (), is_end=True)
        return await self._runs.certificate(work, answer, told_of(parts))

    async def _events(self, body: ChatBody, work: Work, form: MessageForm) -> Events:
        """Per continuation: its role, its thoughts, its text and calls, its end. Then usage, when asked for."""
        holds = body.stream_reasoning is False
        tellings = [Telling(Progress(work.id_of(index)), MessageReader(form), holds) for index in range(work.n)]
        answers = [telling.answer for telling in tellings]
        created, model = int(time.time()), model_of(body)

        def chunk_of(*deltas: ChatDelta) -> ChatChunk:
            chunk = ChatChunk(id=work.id, created=created, model=model, choices=list(deltas))
            if body.wants_running_usage or not deltas:
                chunk.usage = usage_of([answers], self._serve.cache_report)
            return chunk

        async with aclosing(self._runs.chunks([work], is_streaming=True)) as chunks:
            async for _, chunk in chunks:
                index, telling = chunk.index, tellings[chunk.index]
                is_first, deltas = not telling.answer.has_begun, telling.read(chunk)
                if is_first:
                    yield event(chunk_of(ChatDelta(index=index, delta=Delta(role="assistant", content=""))))
                logprobs = self._logprobs(chunk.logprobs) if chunk.logprobs else None
                for delta in deltas or ([Delta(content="")] if logprobs else []):
                    yield event(chunk_of(ChatDelta(index=index, delta=delta, logprobs=logprobs)))
                    logprobs = None  # of all tokens of the chunk: told once
                if chunk.finish is not None:
                    reason, matched = end_of(chunk.finish, telling.reader)
                    end = ChatDelta(index=index, delta=Delta(), finish_reason=reason, matched_stop=matched)
                    end.certificate = await self._certificate(body, work, telling.answer, form)
                    yield event(chunk_of(end))
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


def model_of(body: ChatBody) -> str:
    return body.model or "default"
