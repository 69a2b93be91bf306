"""What a door hands to the service, and what it gets back when it waits for the whole."""

from msgspec import Struct

from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.front.service.promise import Promise


class Work(Struct, frozen=True, kw_only=True):
    """A prompt that was checked, to be continued `n` times. Made by `Service.work` only."""

    id: str  # of continuation 0; continuation i is `{id}-{i}`
    tokens: bytes  # the prompt, packed
    sampling: SamplingParams  # its seed is filled
    n: int = 1
    promise: Promise | None = None
    logprobs: LogprobSpec | None = None
    priority: int = 0
    salt: str = ""
    shown: tuple[int, ...] = ()  # special tokens that show in the text, whatever `sampling` says

    def id_of(self, index: int) -> str:
        return self.id if index == 0 else f"{self.id}-{index}"
