"""The bounds of what more than one route reads."""

from typing import Annotated

from msgspec import Meta

MAX_SAMPLES = 128
MAX_TOP = 128
MAX_CHOSEN = 1024  # token ids whose logprobs are told at every position
MAX_BATCH = 4096  # prompts of one request, and continuations of all of them

MAX_TOKENS = 32 << 20  # of all prompts of one request, each counted for each of its continuations
MAX_ENTRIES = 16 << 20  # log-probabilities that the answers to one request may tell

ROW_BYTES = 8 << 10  # what a continuation takes, here and in the engine: measured, as the next two
TOKEN_BYTES = 8  # of a prompt, for each of its continuations
ENTRY_BYTES = 220  # of a log-probability, told once

Samples = Annotated[int, Meta(ge=1, le=MAX_SAMPLES)]
Top = Annotated[int, Meta(ge=0, le=MAX_TOP)]
Priority = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Name = Annotated[str, Meta(max_length=4096)]
RequestId = Annotated[str, Meta(min_length=1, max_length=256)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
