"""A door that keeps the tokens of what goes through it."""

from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any

from benchmarks.programs.optimum import Asked
from stemma.front.lang.backends.native import Door, NativeBackend
from stemma.front.lang.sampling import Json


class RecordingDoor:
    """`answered` are the requests in the order in which they began."""

    def __init__(self, door: Door):
        self._door = door
        self._slots: list[list[Asked]] = []
        self._lock = Lock()

    @property
    def answered(self) -> list[Asked]:
        return [asked for slot in self._slots for asked in slot]

    def generate(self, body: Json) -> Any:
        slot: list[Asked] = []
        with self._lock:
            self._slots.append(slot)
        answer = self._door.generate({**body, "return_prompt_token_ids": True})
        for each in answer if isinstance(answer, list) else [answer]:
            slot.append(Asked(each["prompt_token_ids"], each["output_ids"], each["meta_info"]["cached_tokens"]))
        return answer

    def stream(self, body: Json) -> Iterator[Any]:
        raise NotImplementedError("these programs do not stream")

    def model_info(self) -> Json:
        return self._door.model_info()

    def encode(self, texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
        return self._door.encode(texts, add_special_tokens)

    def decode(self, tokens: Sequence[list[int]], skip_special_tokens: bool) -> list[str]:
        return self._door.decode(tokens, skip_special_tokens)

    def abort(self, rid: str) -> None:
        self._door.abort(rid)

    def flush(self) -> bool:
        return self._door.flush()

    def server_info(self) -> Json:
        return self._door.server_info()


def recording(door: Door) -> tuple[NativeBackend, RecordingDoor]:
    recorder = RecordingDoor(door)
    return NativeBackend(recorder), recorder
