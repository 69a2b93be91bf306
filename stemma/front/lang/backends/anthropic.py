"""Programs on Claude, through Anthropic's official client."""

from collections.abc import Iterator
from typing import Any

from stemma.core.base.errors import ConfigError
from stemma.front.lang.backends.backend import Answer, BaseBackend
from stemma.front.lang.backends.turns import turns
from stemma.front.lang.errors import BackendError
from stemma.front.lang.media import media_type
from stemma.front.lang.sampling import Json, Sampling
from stemma.front.lang.templates import Message, template_named
from stemma.front.lang.transcript import Transcript

try:
    import anthropic
except ImportError as error:
    raise ConfigError("the Anthropic backend needs the official client: pip install 'stemma-llm[anthropic]'") from error


class Anthropic(BaseBackend):
    """A model behind the Messages API. Further arguments are the official client's: base_url, api_key, ..."""

    answers_turns = True

    _template = template_named("claude")

    def __init__(self, model_name: str, **options: Any):
        self._client: Any = anthropic.Anthropic(**options)
        self._model_name = model_name

    def generate(self, transcript: Transcript, sampling: Sampling) -> Answer:
        answer = self._client.messages.create(**self._fields(transcript, sampling))
        text = "".join(block.text for block in answer.content if block.type == "text")
        return text, _meta(answer)

    def generate_stream(self, transcript: Transcript, sampling: Sampling) -> Iterator[tuple[str, Json]]:
        with self._client.messages.stream(**self._fields(transcript, sampling)) as stream:
            for text in stream.text_stream:
                yield text, {}
            yield "", _meta(stream.get_final_message())

    def shutdown(self) -> None:
        self._client.close()

    def _fields(self, transcript: Transcript, sampling: Sampling) -> Json:
        """The request: the system's turn stands beside the others."""
        if sampling.n > 1:
            raise BackendError(f"Anthropic gives one answer at a time, not n={sampling.n}; fork instead")
        messages = [_message(message) for message in turns(transcript)]
        system = [messages.pop(0)["content"]] if messages[0]["role"] == "system" else []
        fields = {"model": self._model_name, "messages": messages, **sampling.anthropic()}
        return fields | ({"system": system[0]} if system else {})


def _message(message: Message) -> Message:
    content: Any = message["content"]
    return message if isinstance(content, str) else {**message, "content": [_part(part) for part in content]}


def _part(part: dict[str, Any]) -> Json:
    """An image goes as bytes of a named kind."""
    if part["type"] != "image_url":
        return part
    encoded = part["image_url"]["url"].partition(",")[2]
    return {"type": "image", "source": {"type": "base64", "media_type": media_type(encoded), "data": encoded}}


def _meta(answer: Any) -> Json:
    usage = {"prompt_tokens": answer.usage.input_tokens, "completion_tokens": answer.usage.output_tokens}
    reason = "length" if answer.stop_reason == "max_tokens" else answer.stop_reason
    return {"id": answer.id, "finish_reason": reason, **usage}
