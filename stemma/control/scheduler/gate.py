"""What can never be served is refused before it waits."""

from array import array
from collections.abc import Collection

import numpy as np

from stemma.control.scheduler.sequence import Sequence
from stemma.core.base.errors import BadRequest, TooLong
from stemma.core.types.request import Request
from stemma.core.types.tokens import unpack


class Gate:
    """Request -> Sequence, or an error that names what was wrong.

    The front has checked the same; here it keeps a faulty front from harming the requests of others.
    """

    def __init__(self, context: int, vocab_size: int, max_total_tokens: int, stop_ids: tuple[int, ...]):
        self.context = context
        self.vocab_size = vocab_size
        self.max_total_tokens = max_total_tokens
        self.stop_ids = stop_ids

    def enter(self, request: Request, arrival: int, rank: int) -> Sequence:
        sampling, logprobs = request.sampling, request.logprobs
        prompt = self._tokens(request.tokens, "tokens")
        output = self._tokens(request.output, "output")
        if not prompt:
            raise BadRequest("the prompt is empty; it needs at least one token", "tokens")
        self._check_ids(sampling.stop_token_ids, "sampling.stop_token_ids")
        self._check_ids(sampling.logit_bias, "sampling.logit_bias")
        self._check_ids(logprobs.token_ids if logprobs else (), "logprobs.token_ids")
        stop_ids = () if sampling.ignore_eos else tuple(dict.fromkeys(self.stop_ids + sampling.stop_token_ids))
        start = logprobs.start if logprobs else -1
        # Whoever has output has the log-probabilities of the prompt, too; its last token scores nothing.
        first = max(start - 1, 0)
        scores = start >= 0 and first < len(prompt) - 1 and not output
        limit = self._limit(len(prompt), sampling.max_new_tokens)
        sequence = Sequence(
            request=request,
            arrival=arrival,
            rank=rank,
            tokens=prompt + output,
            prompt_len=len(prompt),
            limit=limit,
            stop_ids=stop_ids,
            given=len(prompt) + len(output),
            scored=first if scores else limit,
        )
        if sequence.end > self.max_total_tokens:
            raise TooLong(
                f"{len(prompt)} prompt and {sequence.limit - len(prompt)} output tokens need more than the "
                f"{self.max_total_tokens} tokens that the KV cache holds; ask for less, or give it more memory",
                "sampling.max_new_tokens",
            )
        return sequence

    def _limit(self, prompt: int, most: int | None) -> int:
        room = self.context - prompt
        if room < 0 or (room == 0 and most != 0):
            raise TooLong(
                f"{prompt} prompt tokens leave no room for output in the context of {self.context} tokens; "
                f"shorten the prompt to at most {self.context - 1} tokens",
                "tokens",
            )
        return prompt + (room if most is None else min(most, room))

    def _tokens(self, packed: bytes, field: str) -> "array[int]":
        try:
            tokens = unpack(packed)
        except ValueError:
            raise BadRequest(f"{len(packed)} bytes are not packed int32 tokens", field) from None
        if tokens and np.frombuffer(tokens, np.uint32).max() >= self.vocab_size:  # negative ones are large there
            self._check_ids(tokens, field)
        return tokens

    def _check_ids(self, ids: Collection[int], field: str) -> None:
        if ids and not 0 <= min(ids) <= max(ids) < self.vocab_size:
            wrong = min(ids) if min(ids) < 0 else max(ids)
            raise BadRequest(f"token id {wrong} is not within the vocabulary of {self.vocab_size}", field)
