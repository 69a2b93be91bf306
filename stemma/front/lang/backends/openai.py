"""Programs on an OpenAI-style server, through the official client."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from threading import Lock
from typing import Any

from stemma.core.base.errors import ConfigError
from stemma.core.config.env import crusoe_api_key
from stemma.front.lang.backends.backend import Answer, BaseBackend
from stemma.front.lang.backends.native import own_entries
from stemma.front.lang.backends.turns import parts, text_of, turns, whole
from stemma.front.lang.choices import ChoicesDecision, ChoicesSamplingMethod, mean
from stemma.front.lang.errors import BackendError
from stemma.front.lang.sampling import Json, Sampling
from stemma.front.lang.templates import ChatTemplate
from stemma.front.lang.transcript import Transcript

try:
    import openai
except ImportError as error:
    raise ConfigError("the OpenAI backend needs the official client: pip install 'stemma-llm[openai]'") from error

CRUSOE_URL = "https://api.inference.crusoecloud.com/v1/"
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
        self.answers_turns = model_name not in COMPLETION_MODELS if is_chat_model is None else is_chat_model
        self._template = chat_template or self._template
        self.token_usage = TokenUsage()

    def generate(self, transcript: Transcript, sampling: Sampling) -> Answer:
        answer = self._create(transcript, sampling)
        self.token_usage.add(answer.usage)
        for choice in answer.choices:
            check_form(text_of(choice), choice.finish_reason, sampling)
        return whole(answer, sampling.n)

    def generate_stream(self, transcript: Transcript, sampling: Sampling) -> Iterator[tuple[str, Json]]:
        text, reason = "", None
        for chunk in self._create(transcript, sampling, stream=True, stream_options={"include_usage": True}):
            self.token_usage.add(chunk.usage)
            for new, meta in parts([chunk]):
                text, reason = text + new, meta["finish_reason"]
                yield new, meta
        check_form(text, reason, sampling)

    def select(
        self, transcript: Transcript, choices: Sequence[str], temperature: float, method: ChoicesSamplingMethod
    ) -> ChoicesDecision:
        """Score all options in one batch of echoed prompts; the text alone is one of them, to know where they begin."""
        if self.answers_turns:
            raise BackendError("a chat model tells no log-probabilities of a prompt; select needs is_chat_model=False")
        if method.requires_unconditional_logprobs:
            raise BackendError("OpenAI's API tells no token ids, without which options cannot be scored alone")
        prompts = [*filter(None, [transcript.text]), *(transcript.text + choice for choice in choices)]
        asked = {"prompt": prompts, "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0.0}
        answer = self._client.completions.create(model=self._model_name, **asked)
        self.token_usage.add(answer.usage)
        metas = echoed(answer)
        start = metas[0]["prompt_tokens"] if transcript.text else 0
        scored = [own_entries(meta, start, transcript.text) for meta in metas[-len(choices) :]]
        return method(
            choices=choices,
            normalized_prompt_logprobs=[mean(entries) for entries in scored],
            input_token_logprobs=scored,
            output_token_logprobs=[[] for _ in choices],
        )

    def shutdown(self) -> None:
        self._client.close()

    def _create(self, transcript: Transcript, sampling: Sampling, **options: Any) -> Any:
        length_name = "max_completion_tokens" if self._model_name.startswith(("o1", "o3")) else "max_tokens"
        fields = {**sampling.openai(length_name), **options, "model": self._model_name}
        if self.answers_turns:
            return self._client.chat.completions.create(messages=turns(transcript), **fields)
        return self._client.completions.create(prompt=transcript.text, **fields)


def Crusoe(
    model_name: str, api_key: str | None = None, base_url: str | None = None, chat_template: ChatTemplate | None = None,
    **options: Any,
) -> OpenAI:  # fmt: skip
    """A chat model on Crusoe's servers, which speak OpenAI's API. The key may come from CRUSOE_API_KEY."""
    key = api_key or crusoe_api_key()
    if key is None:  # the client would send them OpenAI's
        raise ConfigError("Crusoe needs a key: Crusoe(model_name, api_key=...), or CRUSOE_API_KEY")
    return OpenAI(model_name, True, chat_template, api_key=key, base_url=base_url or CRUSOE_URL, **options)


def echoed(answer: Any) -> list[dict[str, Any]]:
    """The tokens of each prompt, as `/generate` tells them, of an answer that echoes it and draws one more."""
    choices = sorted(answer.choices, key=lambda choice: choice.index)
    told = [choice.logprobs for choice in choices]
    if not all(getattr(each, "token_logprobs", None) for each in told):
        raise BackendError("the server tells no log-probabilities of a prompt that it echoes, by which select chooses")
    entries = [[*zip(each.token_logprobs, repeat(None), each.tokens)] for each in told]
    drawn = sum(map(len, entries)) - answer.usage.prompt_tokens
    # The token that ends a text is told by some servers, and by others not.
    extra = [drawn == len(choices) or choice.finish_reason == "length" for choice in choices]
    if drawn != sum(extra):
        raise BackendError(f"the server told {drawn} tokens too many for {len(choices)} prompts; does it echo them?")
    lengths = [len(each) - is_more for each, is_more in zip(entries, extra, strict=True)]
    return [
        {"input_token_logprobs": each[:length], "prompt_tokens": length}
        for each, length in zip(entries, lengths, strict=True)
    ]


def check_form(text: str, reason: object, sampling: Sampling) -> None:
    """Servers may ignore what they do not know. Raises BackendError when the answer shows it."""
    pattern, _ = sampling.form()
    if pattern and reason == "stop" and not sampling.stop and not re.fullmatch(pattern, text):
        raise BackendError(f"the server did not hold its answer to the pattern {pattern}: {text[:80]!r}")
