"""What the door checks: what a prompt and its parameters must be before an engine sees them."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import msgspec

from stemma.core.base.errors import BadRequest, TooLong
from stemma.core.types.control import EngineReady
from stemma.core.types.sampling import LogprobSpec, SamplingParams

MAX_CONTINUATIONS = 128
MAX_ID_CHARACTERS = 256


def check_prompt(tokens: Sequence[int], ready: EngineReady) -> None:
    if not tokens:
        raise BadRequest("the prompt is empty; send at least one token", "prompt")
    check_tokens(tokens, ready.vocab_size, "input_ids")


def check_tokens(tokens: Iterable[int], vocab_size: int, field: str) -> None:
    for token in tokens:
        if not 0 <= token < vocab_size:
            raise BadRequest(f"token id {token} is outside of the vocabulary of 0 to {vocab_size - 1}", field)


def settle(
    sampling: SamplingParams, prompt_len: int, seed: int, ready: EngineReady, is_length_asked: bool = True
) -> SamplingParams:
    """The parameters with nothing left open: lengths are numbers that fit, and there is a seed.

    A length that nobody asked for gives way to the room that there is.
    """
    check_tokens(sampling.stop_token_ids, ready.vocab_size, "stop_token_ids")
    check_tokens(sampling.logit_bias, ready.vocab_size, "logit_bias")
    longest = _room(prompt_len, sampling.max_new_tokens if is_length_asked else None, ready)
    output = longest if sampling.max_new_tokens is None else min(sampling.max_new_tokens, longest)
    if sampling.min_new_tokens > output:
        raise BadRequest(
            f"min_new_tokens {sampling.min_new_tokens} exceeds max_new_tokens {output}; ask for at most {output}",
            "min_new_tokens",
        )
    given = sampling.sampling_seed
    return msgspec.structs.replace(sampling, max_new_tokens=output, sampling_seed=seed if given is None else given)


def _room(prompt_len: int, output: int | None, ready: EngineReady) -> int:
    """How many tokens the answer may have. Raises TooLong when fewer than are asked for, or none."""
    limits = ((ready.context, "the context"), (ready.max_total_tokens, "the whole cache"))
    limit, name = min(limits, key=lambda pair: pair[0])
    room = limit - prompt_len
    if room < (1 if output is None else output):
        asked = f"{prompt_len} prompt tokens exceed" if output is None else (
            f"{prompt_len} prompt + {output} output tokens exceed")  # fmt: skip
        way_out = f" or ask for at most {room}" if output is not None and room > 0 else ""
        raise TooLong(f"{asked} {name} of {limit}; shorten the prompt{way_out}",
                      "prompt" if room <= 0 else "max_new_tokens")  # fmt: skip
    return room


def check_logprobs(spec: LogprobSpec, prompt_len: int, vocab_size: int) -> None:
    check_tokens(spec.token_ids, vocab_size, "token_ids_logprob")
    if spec.start > prompt_len:
        raise BadRequest(f"logprobs from position {spec.start} on, but the prompt has {prompt_len} tokens; "
                         f"give at most {prompt_len}, or -1 for the answer alone", "logprob_start_len")  # fmt: skip


def check_n(n: int) -> None:
    if not 1 <= n <= MAX_CONTINUATIONS:
        raise BadRequest(f"n is {n}; ask for 1 to {MAX_CONTINUATIONS} continuations", "n")


def check_id(id: str) -> None:
    if not 1 <= len(id) <= MAX_ID_CHARACTERS:
        raise BadRequest(f"the id has {len(id)} characters; give 1 to {MAX_ID_CHARACTERS}", "rid")


def seed_of(seed: int, index: int) -> int:
    """The seed of continuation `index`: the request's own for the first, for others eight bytes of
    BLAKE2b over seed and index (little-endian, 8 bytes each), as a signed number."""
    if index == 0:
        return seed
    mixed = blake2b(seed.to_bytes(8, "little", signed=True) + index.to_bytes(8, "little"), digest_size=8).digest()
    return int.from_bytes(mixed, "little", signed=True)
