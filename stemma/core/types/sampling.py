"""How an answer is drawn and when it ends. Names and defaults are those of SGLang's sampling_params."""

from typing import Annotated

from msgspec import Meta, Struct

MAX_STOPS = 32
MAX_REGEX_BYTES = 256
MAX_BIASES = 1024

TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
StopString = Annotated[str, Meta(min_length=1, max_length=1024)]
StopPattern = Annotated[str, Meta(min_length=1, max_length=MAX_REGEX_BYTES)]


class SamplingParams(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One request's parameters, after the door has translated every dialect into this one.

    Ranges are checked when it is decoded; what depends on the model (ids within the vocabulary,
    lengths within the context) is checked by the front. `n` is not here: the front sends n requests.
    """

    max_new_tokens: Count | None = 128  # None: until the context ends
    min_new_tokens: Count = 0
    temperature: Annotated[float, Meta(ge=0, le=1e6)] = 1.0  # below 1e-6: greedy
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] = -1  # -1: off
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.0
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] = 0.0
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] = 0.0
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] = 1.0
    logit_bias: Annotated[dict[TokenId, Annotated[float, Meta(ge=-1e4, le=1e4)]], Meta(max_length=MAX_BIASES)] = {}
    stop: Annotated[tuple[StopString, ...], Meta(max_length=MAX_STOPS)] = ()
    stop_token_ids: Annotated[tuple[TokenId, ...], Meta(max_length=MAX_STOPS)] = ()
    stop_regex: Annotated[tuple[StopPattern, ...], Meta(max_length=MAX_STOPS)] = ()
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    no_stop_trim: bool = False
    sampling_seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None  # the front always fills it

    @property
    def is_greedy(self) -> bool:
        return self.temperature < 1e-6 or self.top_k == 1

    @property
    def divisor(self) -> float:
        """What logits are divided by before the softmax; greedy by temperature means an untempered softmax."""
        return 1.0 if self.temperature < 1e-6 else self.temperature

    @property
    def has_penalties(self) -> bool:
        return self.presence_penalty != 0 or self.frequency_penalty != 0 or self.repetition_penalty != 1


class LogprobSpec(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Which log-probabilities a request wants beside its tokens."""

    start: Annotated[int, Meta(ge=-1)] = -1  # first prompt position wanted; -1: output only
    top: Annotated[int, Meta(ge=0, le=128)] = 0
    token_ids: Annotated[tuple[TokenId, ...], Meta(max_length=1024)] = ()
