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

    def generate(self, body: Json) -> Any:
        return self._engine.generate(body.get("text"), **_rest(body))

    def stream(self, body: Json) -> Iterator[Any]:
        answers: Iterator[Any] = self._engine.generate(body.get("text"), stream=True, **_rest(body))
        return answers

    def encode(self, texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        return [self._engine.encode(text, add_special_tokens) for text in texts]

    def decode(self, tokens: Sequence[list[int]], skip_special_tokens: bool) -> list[str]:
        return [self._engine.decode(each, skip_special_tokens) for each in tokens]

    def model_info(self) -> Json:
        return self._engine.get_model_info()

    def abort(self, rid: str) -> None:
        self._engine.abort_request(rid)

    def flush(self) -> bool:
        return self._engine.flush_cache()

    def server_info(self) -> Json:
        return self._engine.get_server_info()


def _rest(body: Json) -> Json:
    return {name: value for name, value in body.items() if name != "text"}


def engine_backend(engine: EngineLike) -> NativeBackend:
    """One for each engine: what it has learned and its threads serve all programs."""
    backend: NativeBackend = engine.programs or NativeBackend(EngineDoor(engine))
    engine.programs = backend
    return backend
