"""What an engine answers.

`gc=False`: there are many, and none can be part of a circle.
"""

from typing import Literal

from msgspec import Struct


class Logprob(Struct, frozen=True, array_like=True, gc=False):
    """Log-probability of one token, given all before it, after temperature (natural logarithm, float32)."""

    token: int
    logprob: float | None  # None: the first token of a prompt has no condition
    top: tuple[tuple[int, float], ...] = ()  # the likeliest (token, logprob), best first
    chosen: tuple[float, ...] = ()  # of the ids that LogprobSpec.token_ids named, in its order


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens of one request, counted once, by the scheduler."""

    prompt: int = 0
    cached: int = 0  # prompt tokens whose keys and values were found, not computed
    output: int = 0
    retractions: int = 0  # how often it lost its row to others and came back
    forced: int = 0  # output tokens that the grammar left no choice of
    backend: str = ""  # which grammar backend held the answer to its grammar; empty: it had none

    @property
    def total(self) -> int:
        return self.prompt + self.output


class Finish(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request ended."""

    reason: Literal["stop", "length", "abort", "error"]
    code: int = 200  # what HTTP says when nothing was sent yet
    detail: str | int | None = None  # the stop token or string, or the message of an error


class TokenChunk(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="chunk", gc=False):
    """What happened to one request in one step."""

    id: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[Logprob, ...] = ()  # one per token, when asked for
    prompt_logprobs: tuple[Logprob, ...] = ()  # of the prompt from LogprobSpec.start, a part at a time
    finish: Finish | None = None  # exactly one chunk of each request has it
    usage: Usage | None = None  # with the first chunk and with the finish


class TextChunk(Struct, frozen=True, kw_only=True):
    """What a front tells whoever asked: TokenChunk with text. All fields are what is new since the last one."""

    id: str
    index: int = 0  # which of the n continuations
    text: str = ""
    tokens: tuple[int, ...] = ()
    logprobs: tuple[Logprob, ...] = ()
    prompt_logprobs: tuple[Logprob, ...] = ()
    finish: Finish | None = None
    usage: Usage | None = None
