"""Programs on whatever LiteLLM has a door to."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from stemma.core.base.errors import ConfigError
from stemma.front.lang.backends.backend import Answer, BaseBackend
from stemma.front.lang.backends.turns import parts, turns, whole
from stemma.front.lang.sampling import Json, Sampling
from stemma.front.lang.templates import ChatTemplate, template_of
from stemma.front.lang.transcript import Transcript

# When imported it would ask the network for a list of prices, and wait.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
try:
    import litellm
except ImportError as error:
    raise ConfigError("the LiteLLM backend needs its package: pip install 'stemma-llm[litellm]'") from error


class LiteLLM(BaseBackend):
    """A chat model by LiteLLM's name of it, as in "anthropic/claude-..."; what it raises for its doors is told."""

    answers_turns = True

    def __init__(
        self,
        model_name: str,
        chat_template: ChatTemplate | None = None,
        api_key: str | None = None,
        organization: str | None = None,
        base_url: str | None = None,
        timeout: float | None = 600,
        max_retries: int | None = litellm.num_retries,
        default_headers: Mapping[str, str] | None = None,
    ):
        self._model_name = model_name
        self._template = chat_template or template_of(model_name)
        self._client = {
            "api_key": api_key,
            "organization": organization,
            "base_url": base_url,
            "timeout": timeout,
            "max_retries": max_retries,
            "extra_headers": default_headers,
        }

    def generate(self, transcript: Transcript, sampling: Sampling) -> Answer:
        return whole(self._complete(transcript, sampling), sampling.n)

    def generate_stream(self, transcript: Transcript, sampling: Sampling) -> Iterator[tuple[str, Json]]:
        return parts(self._complete(transcript, sampling, stream=True))

    def _complete(self, transcript: Transcript, sampling: Sampling, **options: Any) -> Any:
        fields = {**sampling.litellm(), **self._client, **options}
        return litellm.completion(model=self._model_name, messages=turns(transcript), **fields)
