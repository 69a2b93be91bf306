"""What fronts and engines say to each other besides requests."""

from collections.abc import Iterator

from msgspec import Struct

from stemma.core.types.output import TokenChunk
from stemma.core.types.request import Abort, Request
from stemma.core.types.tokens import unpack


class Hello(Struct, frozen=True, kw_only=True, tag="hello"):
    """A front introduces itself; the engine answers with EngineReady as soon as it is."""

    front: int


class Flush(Struct, frozen=True, kw_only=True, tag="flush"):
    """Forget every cached prefix. Refused while requests are running or waiting."""

    id: str
    reply_to: int = 0


class AskStats(Struct, frozen=True, kw_only=True, tag="ask_stats"):
    """How are you?"""

    id: str
    reply_to: int = 0


class Stats(Struct, frozen=True, kw_only=True):
    """Counts of one engine: gauges are now, totals are since its start."""

    running: int = 0
    waiting: int = 0
    steps: int = 0
    pages: int = 0
    free_pages: int = 0
    cached_pages: int = 0  # held by the radix tree and by nobody else: evictable
    page_size: int = 1
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    computed_tokens: int = 0  # that the device ran the model on, told by itself
    requests: int = 0
    aborted: int = 0
    retractions: int = 0
    mixed_steps: int = 0  # steps that held decode rows beside prefill rows
    most_in_flight: int = 0  # the most steps that were launched and not yet absorbed
    token_ratio: float = 1.0  # expected share of max_new_tokens, for admission
    output_tokens_per_second: float = 0.0  # over the last steps
    uptime_seconds: float = 0.0

    @property
    def used_pages(self) -> int:
        """Held by requests."""
        return self.pages - self.free_pages - self.cached_pages


class EngineReady(Struct, frozen=True, kw_only=True, tag="ready"):
    """What the door needs to know to check requests: said once, when the model is loaded."""

    context: int  # the most tokens of prompt and answer together
    max_total_tokens: int  # pages x page size
    page_size: int
    vocab_size: int
    startup_seconds: float = 0.0
    load_seconds: float = 0.0


class Reply(Struct, frozen=True, kw_only=True, tag="reply"):
    """The answer to a Flush or an AskStats."""

    id: str
    ok: bool = True
    message: str = ""
    stats: Stats | None = None


class Chunks(Struct, frozen=True, kw_only=True, tag="chunks"):
    """All that one step has to say to one front. Whoever got a token and no more stands in two columns."""

    chunks: tuple[TokenChunk, ...] = ()
    ids: tuple[str, ...] = ()
    tokens: bytes = b""  # packed: one for each id

    def every(self) -> Iterator[TokenChunk]:
        """The columns spelled out, then the others."""
        for id, token in zip(self.ids, unpack(self.tokens), strict=True):
            yield TokenChunk(id=id, tokens=(token,))
        yield from self.chunks


ToEngine = Hello | Request | Abort | Flush | AskStats
FromEngine = EngineReady | Chunks | Reply
