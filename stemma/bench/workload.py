"""What is asked of a server: prompts of random token ids, the same for everybody who says the same seed."""

import random
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from stemma.core.base.errors import ConfigError

LENGTHS_SEED = 7  # lengths do not follow the seed: every repetition has equally much to do
FIRST_ID, LAST_ID = 300, 8000  # ids between these are ordinary tokens of most vocabularies


class Span(NamedTuple):
    """A number drawn evenly from `low` to `high`, both included."""

    low: int
    high: int

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


def span_of(text: str) -> Span:
    """`128`, or `64-512`. Raises ValueError."""
    low, dash, high = text.partition("-")
    if not (low.isdecimal() and (high.isdecimal() or not dash)) or int(low) > int(high or low):
        raise ValueError(f"{text!r} is no span of numbers; write 128, or 64-512")
    return Span(int(low), int(high or low))


class Prompt(NamedTuple):
    """One request: continue these tokens by so many."""

    tokens: list[int]
    output_tokens: int


class Workload(Struct, frozen=True, kw_only=True):
    """So many requests of such lengths, which all begin with the same `shared_tokens`."""

    requests: int
    input_tokens: Span  # beside the shared ones
    output_tokens: Span
    shared_tokens: int = 0

    @property
    def dataset(self) -> str:
        return "generated-shared-prefix" if self.shared_tokens else "random-ids"

    def prompts(self, seed: int, ids: range) -> list[Prompt]:
        """Greedy prompts; `ids` are the tokens to draw from."""
        lengths, draw = random.Random(LENGTHS_SEED), random.Random(seed)

        def tokens(count: int) -> list[int]:
            return [draw.randrange(ids.start, ids.stop) for _ in range(count)]

        shared = tokens(self.shared_tokens)
        return [
            Prompt(shared + tokens(lengths.randint(*self.input_tokens)), lengths.randint(*self.output_tokens))
            for _ in range(self.requests)
        ]


ONE = Workload(requests=1, input_tokens=Span(1, 1), output_tokens=Span(1, 1))
_MIXED = Workload(requests=32, input_tokens=Span(64, 512), output_tokens=Span(32, 128))

WORKLOADS = {
    "latency": Workload(requests=1, input_tokens=Span(512, 512), output_tokens=Span(128, 128)),
    "throughput": _MIXED,
    "prefix": Workload(requests=32, input_tokens=Span(64, 64), output_tokens=Span(32, 32), shared_tokens=1024),
    "serve": _MIXED,
}


def usable_ids(asked: Span | None, vocabulary: int | None) -> range:
    """The token ids to draw from. `vocabulary` is what the server says of itself, if it does."""
    if asked is not None:
        if vocabulary is not None and asked.high >= vocabulary:
            raise ConfigError(f"token id {asked.high} is not in the model's vocabulary of {vocabulary}")
        return range(asked.low, asked.high + 1)
    if vocabulary is None:
        return range(FIRST_ID, LAST_ID)
    return range(FIRST_ID if vocabulary > 2 * FIRST_ID else 0, min(LAST_ID, vocabulary))


def gaps(rate: float, seed: int) -> Iterator[float]:
    """Seconds between arrivals: none, or those of a Poisson process of `rate` requests per second."""
    draw = random.Random(seed)
    while True:
        yield 0.0 if rate == float("inf") else draw.expovariate(rate)
