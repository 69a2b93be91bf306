"""The two ways into a server: the native route, and OpenAI's completions with token ids as the prompt."""

from typing import Any, Protocol

import msgspec
from msgspec import Struct

from stemma.bench.http import Address, address_of, fetch
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
    """`/generate`, each event with the whole text so far, unless the server was told to send only what is new."""

    name = "native"
    path = "/generate"

    def __init__(self, is_incremental: bool = False):
        self._is_incremental = is_incremental

    def body(self, prompt: Prompt) -> bytes:
        sampling = {"temperature": 0, "max_new_tokens": prompt.output_tokens, "ignore_eos": True}
        return msgspec.json.encode({"input_ids": prompt.tokens, "sampling_params": sampling, "stream": True})

    def read(self, event: Any, at: float, timeline: Timeline) -> None:
        about = event["meta_info"]
        if (finish := about["finish_reason"]) and finish["type"] == "abort":
            raise EngineDead(finish["message"])
        timeline.cached_tokens = about.get("cached_tokens", 0)
        text = event["text"] if self._is_incremental else event["text"][len(timeline.text) :]
        timeline.hear(at, text, about["completion_tokens"])


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
INCREMENTAL = ("incremental_streaming", "incremental_streaming_output")  # how servers call that setting


class Server(Struct, frozen=True, kw_only=True):
    """A server that was met."""

    address: Address
    door: Door
    vocabulary: int | None  # tokens that its model knows, if it says so
    settings: dict[str, Any]  # what it says of its configuration, if it does


async def meet(url: str, api_key: str | None = None, wanted: str | None = None) -> Server:
    """Look which doors a server has, and take the one that is wanted, or the first. Raises StemmaError."""
    address = address_of(url, api_key)
    model = await _told(address, "/model_info")
    settings = await _told(address, "/server_info")
    door: Door
    if wanted == Native.name or (wanted is None and model):
        door = Native(any(settings.get(name) for name in INCREMENTAL))
    else:
        door = OpenAI(await _served(address))
    return Server(address=address, door=door, vocabulary=model.get("vocab_size"), settings=settings)


async def _served(address: Address) -> str:
    """The name of the first model."""
    found = await fetch(address, "/v1/models")
    try:
        return str(found["data"][0]["id"])
    except (LookupError, TypeError):
        raise BadRequest(f"{address.name}/v1/models names no model: {str(found)[:80]}") from None


async def _told(address: Address, path: str) -> dict[str, Any]:
    """What a route says; nothing, if there is no such route."""
    try:
        found = await fetch(address, path)
    except BadRequest:
        return {}
    return found if isinstance(found, dict) else {}
