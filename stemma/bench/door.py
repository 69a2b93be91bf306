"""The two ways into a server: the native route, and OpenAI's completions with token ids as the prompt."""

from typing import Any, Protocol

import msgspec

from stemma.bench.http import Address, fetch
from stemma.bench.timeline import Timeline
from stemma.bench.workload import Prompt
from stemma.core.base.errors import BadRequest, EngineDead


class Door(Protocol):
    """Writes requests, and reads what comes back."""

    name: str
    path: str

    def body(self, prompt: Prompt) -> bytes:
        """A greedy request that is as long as it wants to be, streamed."""
        ...

    def read(self, event: Any, at: float, timeline: Timeline) -> None:
        """Take one event of a stream into a timeline."""
        ...


class Native:
    """`/generate`, each event with the whole text so far."""

    name = "native"
    path = "/generate"

    def body(self, prompt: Prompt) -> bytes:
        sampling = {"temperature": 0, "max_new_tokens": prompt.output_tokens, "ignore_eos": True}
        return msgspec.json.encode({"input_ids": prompt.tokens, "sampling_params": sampling, "stream": True})

    def read(self, event: Any, at: float, timeline: Timeline) -> None:
        about = event["meta_info"]
        if (finish := about["finish_reason"]) and finish["type"] == "abort":
            raise EngineDead(finish["message"])
        timeline.cached_tokens = about.get("cached_tokens", 0)
        timeline.hear(at, event["text"][len(timeline.text) :], about["completion_tokens"])


class OpenAI:
    """`/v1/completions`, each event with what is new."""

    name = "openai"
    path = "/v1/completions"

    def __init__(self, model: str):
        self._model = model

    def body(self, prompt: Prompt) -> bytes:
        # Running usage tells how many tokens a piece has; a server that does not know it sends one at a time.
        return msgspec.json.encode(
            {
                "model": self._model,
                "prompt": prompt.tokens,
                "max_tokens": prompt.output_tokens,
                "temperature": 0,
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            }
        )

    def read(self, event: Any, at: float, timeline: Timeline) -> None:
        text = "".join(choice.get("text") or "" for choice in event.get("choices") or ())
        if usage := event.get("usage"):
            timeline.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            tokens = usage["completion_tokens"]
        else:
            tokens = timeline.output_tokens + bool(text)
        if event.get("choices"):
            timeline.hear(at, text, tokens)
        else:  # the bill, after the last token
            timeline.output_tokens = tokens


DOORS = (Native.name, OpenAI.name)


async def door_of(address: Address, wanted: str | None) -> tuple[Door, Any]:
    """The door, and what the server says of its model: nothing, if it has only OpenAI's routes.

    Raises BadRequest when the door that was wanted is not there.
    """
    try:
        about = await fetch(address, "/model_info")
    except BadRequest:
        about = {}
    if wanted == Native.name or (wanted is None and about):
        return Native(), about
    return OpenAI((await fetch(address, "/v1/models"))["data"][0]["id"]), about
