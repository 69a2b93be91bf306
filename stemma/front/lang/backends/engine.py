"""Programs on an engine in this process."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from stemma.front.lang.backends.native import NativeBackend
from stemma.front.lang.sampling import Json


@runtime_checkable
class EngineLike(Protocol):
    """What is needed of `stemma.Engine`; named by its shape, so that the language works without torch."""

    programs: Any  # its backend, made when the first program runs on it

    def generate(self, prompt: Any = None, sampling_params: Any = None, *, stream: Any = False, **body: Any) -> Any: ...

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]: ...

    def decode(self, tokens: list[int], skip_special_tokens: bool = True) -> str: ...

    def abort_request(self, rid: str) -> None: ...

    def flush_cache(self) -> bool: ...

    def get_model_info(self) -> Json: ...

    def get_server_info(self) -> Json: ...


class EngineDoor:
    """The native dialect, spoken by calls."""

    def __init__(self, engine: EngineLike):
        self._engine = engine
        self.model_info, self.server_info = engine.get_model_info, engine.get_server_info
        self.abort, self.flush = engine.abort_request, engine.flush_cache

    def generate(self, body: Json) -> Any:
        fields = dict(body)
        return self._engine.generate(fields.pop("text", None), **fields)

    def stream(self, body: Json) -> Iterator[Any]:
        answers: Iterator[Any] = self.generate({**body, "stream": True})
        return answers

    def encode(self, texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        return [self._engine.encode(text, add_special_tokens) for text in texts]

    def decode(self, tokens: Sequence[list[int]], skip_special_tokens: bool) -> list[str]:
        return [self._engine.decode(each, skip_special_tokens) for each in tokens]


def engine_backend(engine: EngineLike) -> NativeBackend:
    """One for each engine: what it has learned and its threads serve all programs."""
    backend: NativeBackend = engine.programs or NativeBackend(EngineDoor(engine))
    engine.programs = backend
    return backend
