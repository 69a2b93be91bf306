"""Programs on an OpenAI-style server, through the official client."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from stemma.core.base.errors import ConfigError
from stemma.front.lang.backends.backend import Answer, BaseBackend
from stemma.front.lang.errors import BackendError
from stemma.front.lang.sampling import Json, Sampling
from stemma.front.lang.templates import ChatTemplate, template_named
from stemma.front.lang.transcript import Transcript

try:
    import openai
except ImportError as error:
    raise ConfigError("the OpenAI backend needs the official client: pip install 'stemma-llm[openai]'") from error

COMPLETION_MODELS = ("gpt-3.5-turbo-instruct",)


@dataclass(slots=True, eq=False)
class TokenUsage:
    """Tokens that were paid for, over all programs."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add(self, usage: Any) -> None:
        if usage is not None:
            with self._lock:
                self.prompt_tokens += usage.prompt_tokens
                self.completion_tokens += usage.completion_tokens

    def reset(self) -> None:
        with self._lock:
            self.prompt_tokens = self.completion_tokens = 0


class OpenAI(BaseBackend):
    """A chat or completion model. Further arguments are the official client's: base_url, api_key, ...

    A chat model answers whole turns: it cannot go on with one that has begun.
    """

    def __init__(
        self,
        model_name: str,
        is_chat_model: bool | None = None,
        chat_template: ChatTemplate | None = None,
        is_azure: bool = False,
        **options: Any,
    ):
        self._client: Any = openai.AzureOpenAI(**options) if is_azure else openai.OpenAI(**options)
        self._model_name = model_name
        self._is_chat = model_name not in COMPLETION_MODELS if is_chat_model is None else is_chat_model
        self._template = chat_template or template_named("default")
        self.token_usage = TokenUsage()

    def get_chat_template(self) -> ChatTemplate:
        return self._template

    def generate(self, transcript: Transcript, sampling: Sampling) -> Answer:
        answer = self._create(transcript, sampling)
        self.token_usage.add(answer.usage)
        texts = [(choice.message.content if self._is_chat else choice.text) or "" for choice in answer.choices]
        metas: list[Json] = [{"id": answer.id, "finish_reason": choice.finish_reason} for choice in answer.choices]
        return (texts, metas) if sampling.n > 1 else (texts[0], metas[0])

    def generate_stream(self, transcript: Transcript, sampling: Sampling) -> Iterator[tuple[str, Json]]:
        for chunk in self._create(transcript, sampling, stream=True, stream_options={"include_usage": True}):
            self.token_usage.add(chunk.usage)
            for choice in chunk.choices:
                text = choice.delta.content if self._is_chat else choice.text
                yield text or "", {"id": chunk.id, "finish_reason": choice.finish_reason}

    def _create(self, transcript: Transcript, sampling: Sampling, **options: Any) -> Any:
        fields = {**sampling.openai(self._length_name(), self._is_chat), **options, "model": self._model_name}
        if not self._is_chat:
            return self._client.completions.create(prompt=transcript.text, **fields)
        if transcript.role != "assistant" or len(transcript.text) != transcript.turn_start:
            raise BackendError("a chat model answers whole turns: let gen be the first thing in s.assistant(...)")
        return self._client.chat.completions.create(messages=transcript.messages, **fields)

    def _length_name(self) -> str:
        return "max_completion_tokens" if self._model_name.startswith(("o1", "o3")) else "max_tokens"
