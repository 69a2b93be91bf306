"""What a front asks of an engine."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from stemma.core.types.grammar import Grammar
from stemma.core.types.sampling import LogprobSpec, SamplingParams


class Request(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="request"):
    """One sequence to continue. Ends with exactly one `Finish`, whatever happens."""

    id: str
    tokens: bytes  # the prompt, packed (see tokens.py)
    sampling: SamplingParams
    output: bytes = b""  # already generated and sent (resume): lengths, penalties and usage start from it
    logprobs: LogprobSpec | None = None
    grammar: Grammar | None = None  # of the whole answer, `output` included
    priority: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] = 0  # larger goes first
    salt: str = ""  # keeps the cached prefixes of different tenants apart
    reply_to: int = 0  # which front waits


class Abort(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="abort"):
    """End a request early. An unknown id is no error: it may have ended meanwhile."""

    id: str
    reason: Literal["stop", "left", "asked"] = "asked"
    keep: int | None = None  # stop string found in the front: this many output tokens count
    matched: str | None = None  # the stop string or pattern, with reason "stop"
