"""How `select` decides, given the log-probabilities of every option."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

Entry = Sequence[object]  # (logprob or None, token id, text), as `/generate` tells it
Entries = Sequence[Sequence[Entry]]  # of each option


@dataclass(frozen=True, slots=True)
class ChoicesDecision:
    decision: str
    meta_info: dict[str, object] = field(default_factory=dict)


class ChoicesSamplingMethod(ABC):
    """Decides between options. `requires_unconditional_logprobs`: it also wants each option scored alone."""

    @property
    def requires_unconditional_logprobs(self) -> bool:
        return False

    @abstractmethod
    def __call__(
        self,
        *,
        choices: Sequence[str],
        normalized_prompt_logprobs: Sequence[float],
        input_token_logprobs: Entries,
        output_token_logprobs: Entries,
        unconditional_token_logprobs: Entries | None = None,
    ) -> ChoicesDecision: ...


class TokenLengthNormalized(ChoicesSamplingMethod):
    """The option whose tokens are likeliest on average."""

    def __call__(
        self,
        *,
        choices: Sequence[str],
        normalized_prompt_logprobs: Sequence[float],
        input_token_logprobs: Entries,
        output_token_logprobs: Entries,
        unconditional_token_logprobs: Entries | None = None,
    ) -> ChoicesDecision:
        meta = report(normalized_prompt_logprobs, input_token_logprobs, output_token_logprobs)
        return ChoicesDecision(choices[argmax(normalized_prompt_logprobs)], meta)


class GreedyTokenSelection(ChoicesSamplingMethod):
    """The option that wins token by token; one that has ended goes on with its mean."""

    def __call__(
        self,
        *,
        choices: Sequence[str],
        normalized_prompt_logprobs: Sequence[float],
        input_token_logprobs: Entries,
        output_token_logprobs: Entries,
        unconditional_token_logprobs: Entries | None = None,
    ) -> ChoicesDecision:
        rows = [values(entries) or [0.0] for entries in input_token_logprobs]
        width = max(map(len, rows))
        matrix = [[*row, *[sum(row) / len(row)] * (width - len(row))] for row in rows]
        remaining = list(range(len(choices)))
        for column in range(width):
            best = max(matrix[row][column] for row in remaining)
            remaining = [row for row in remaining if matrix[row][column] == best]
        meta = report(normalized_prompt_logprobs, input_token_logprobs, output_token_logprobs)
        return ChoicesDecision(choices[remaining[0]], meta | {"greedy_logprob_matrix": matrix})


class UnconditionalLikelihoodNormalized(ChoicesSamplingMethod):
    """The option that gains most by what stands before it, per token."""

    @property
    def requires_unconditional_logprobs(self) -> bool:
        return True

    def __call__(
        self,
        *,
        choices: Sequence[str],
        normalized_prompt_logprobs: Sequence[float],
        input_token_logprobs: Entries,
        output_token_logprobs: Entries,
        unconditional_token_logprobs: Entries | None = None,
    ) -> ChoicesDecision:
        if unconditional_token_logprobs is None:
            raise ValueError("unconditional_likelihood_normalized needs unconditional_token_logprobs")
        pairs = zip(input_token_logprobs, unconditional_token_logprobs, strict=True)
        scores = [mean_gain(given, alone) for given, alone in pairs]
        meta = report(normalized_prompt_logprobs, input_token_logprobs, output_token_logprobs)
        meta |= {
            "unconditional_token_logprobs": unconditional_token_logprobs,
            "normalized_unconditional_prompt_logprobs": scores,
        }
        return ChoicesDecision(choices[argmax(scores)], meta)


def number(entry: Entry) -> float | None:
    return entry[0] if isinstance(entry[0], int | float) else None


def values(entries: Sequence[Entry]) -> list[float]:
    """The log-probabilities that are known: the first token of all has none."""
    return [value for entry in entries if (value := number(entry)) is not None]


def mean(entries: Sequence[Entry]) -> float:
    known = values(entries)
    return sum(known) / len(known) if known else 0.0


def mean_gain(given: Sequence[Entry], alone: Sequence[Entry]) -> float:
    gains = [
        (number(with_text) or 0.0) - (number(without) or 0.0) for with_text, without in zip(given, alone, strict=True)
    ]
    return sum(gains) / len(gains) if gains else 0.0


def argmax(scores: Sequence[float]) -> int:
    """The first of the highest."""
    return max(range(len(scores)), key=lambda index: scores[index])


def report(normalized: Sequence[float], given: Entries, output: Entries) -> dict[str, object]:
    return {
        "normalized_prompt_logprobs": normalized,
        "input_token_logprobs": given,
        "output_token_logprobs": output,
    }


token_length_normalized = TokenLengthNormalized()
greedy_token_selection = GreedyTokenSelection()
unconditional_likelihood_normalized = UnconditionalLikelihoodNormalized()
