"""How `select` decides, given the log-probabilities of every option."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Entry = Sequence[object]  # (logprob or None, token id, text), as `/generate` tells it
Entries = Sequence[Sequence[Entry]]  # of each option
Report = dict[str, object]


@dataclass(frozen=True, slots=True)
class ChoicesDecision:
    decision: str
    meta_info: Report = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChoicesSamplingMethod:
    """Decides between options. `decide` returns the index of the best, and what else to tell.

    It gets the options' means, their tokens, and, when required, the same tokens without the text before them.
    """

    decide: Callable[[Sequence[float], Entries, Entries], tuple[int, Report]]
    requires_unconditional_logprobs: bool = False

    def __call__(
        self,
        *,
        choices: Sequence[str],
        normalized_prompt_logprobs: Sequence[float],
        input_token_logprobs: Entries,
        output_token_logprobs: Entries,
        unconditional_token_logprobs: Entries | None = None,
    ) -> ChoicesDecision:
        if self.requires_unconditional_logprobs and unconditional_token_logprobs is None:
            raise ValueError("this method needs unconditional_token_logprobs")
        best, more = self.decide(normalized_prompt_logprobs, input_token_logprobs, unconditional_token_logprobs or ())
        told = {
            "normalized_prompt_logprobs": normalized_prompt_logprobs,
            "input_token_logprobs": input_token_logprobs,
            "output_token_logprobs": output_token_logprobs,
        }
        return ChoicesDecision(choices[best], told | more)


def number(entry: Entry) -> float | None:
    return entry[0] if isinstance(entry[0], int | float) else None


def values(entries: Sequence[Entry]) -> list[float]:
    """The log-probabilities that are known: the first token of all has none."""
    return [value for entry in entries if (value := number(entry)) is not None]


def mean(entries: Sequence[Entry]) -> float:
    known = values(entries)
    return sum(known) / len(known) if known else 0.0


def _gain(given: Sequence[Entry], alone: Sequence[Entry]) -> float:
    """By how much the text before it makes an option likelier, per token."""
    pairs = zip(given, alone, strict=True)
    gains = [(number(behind) or 0.0) - (number(without) or 0.0) for behind, without in pairs]
    return sum(gains) / len(gains) if gains else 0.0


def _best(scores: Sequence[float]) -> int:
    """The first of the highest."""
    return max(range(len(scores)), key=lambda index: scores[index])


def _by_mean(means: Sequence[float], given: Entries, alone: Entries) -> tuple[int, Report]:
    return _best(means), {}


def _by_token(means: Sequence[float], given: Entries, alone: Entries) -> tuple[int, Report]:
    """The option that wins token by token; one that has ended goes on with its mean."""
    rows = [values(entries) for entries in given]
    width = max(map(len, rows))
    matrix = [[*row, *[mean(entries)] * (width - len(row))] for row, entries in zip(rows, given, strict=True)]
    remaining = list(range(len(rows)))
    for column in range(width):
        most = max(matrix[row][column] for row in remaining)
        remaining = [row for row in remaining if matrix[row][column] == most]
    return remaining[0], {"greedy_logprob_matrix": matrix}


def _by_gain(means: Sequence[float], given: Entries, alone: Entries) -> tuple[int, Report]:
    scores = [_gain(behind, without) for behind, without in zip(given, alone, strict=True)]
    return _best(scores), {
        "unconditional_token_logprobs": alone,
        "normalized_unconditional_prompt_logprobs": scores,
    }


token_length_normalized = ChoicesSamplingMethod(_by_mean)
greedy_token_selection = ChoicesSamplingMethod(_by_token)
unconditional_likelihood_normalized = ChoicesSamplingMethod(_by_gain, requires_unconditional_logprobs=True)
