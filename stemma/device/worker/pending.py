"""Results on their way to the host: the one place where the device is waited for.

S places
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stemma.core.types.output import Logprob
from stemma.core.types.step import NO_TOKEN, Findings
from stemma.core.types.tokens import WIDTH, pack
from stemma.device.worker.logprobs import Score
from stemma.device.worker.sampler import Verdict

NOT_FINITE = (
    "the logits of the token at position {} are not finite: a weight is damaged, or the model overflows this dtype; "
    "try float32"
)
BANNED = (
    "every token is banned at position {}: what the grammar allows there are stop tokens that min_new_tokens bans, "
    "or nothing; lower min_new_tokens, or widen the grammar"
)


@dataclass(slots=True, frozen=True)
class PendingStep:
    """A step whose work is queued, and may still run."""

    tokens: bytes  # of the plan's rows, in its order
    drawn: Sequence[Verdict]
    scored: Sequence[Verdict]

    def wait(self) -> tuple[bytes, dict[int, Findings]]:
        """The tokens, and what was found beside them, by row."""
        tokens = self.tokens
        found: dict[int, tuple[list[Logprob], list[Logprob]]] = {}
        for kind, verdicts in enumerate((self.drawn, self.scored)):
            for verdict in verdicts:
                for row, logprob in _logprobs(verdict):
                    found.setdefault(row, ([], []))[kind].append(logprob)
        findings = {row: Findings(tuple(own), tuple(prompt)) for row, (own, prompt) in found.items()}
        for verdict in (*self.drawn, *self.scored):  # of two faults the earlier position's is told
            for part, row, fault in _faults(verdict):
                tokens = tokens[: part * WIDTH] + pack((NO_TOKEN,)) + tokens[(part + 1) * WIDTH :]
                findings[row] = Findings(fault=fault)
        return tokens, findings


def _logprobs(verdict: Verdict) -> Iterator[tuple[int, Logprob]]:
    """With the row of each."""
    if verdict.scores:
        tokens, rows = verdict.tokens_S.tolist(), verdict.places.row_S.tolist()
        for at, score in verdict.scores.items():
            yield rows[at], as_logprob(tokens[at], score)


def _faults(verdict: Verdict) -> Iterator[tuple[int, int, str]]:
    """Part, row and message of each place without a token, the last one first."""
    if 0 in verdict.finite_S.numpy().tobytes():  # a tenth of what `all` takes
        for at in reversed((~verdict.finite_S).nonzero().flatten().tolist()):
            part, row, position = (int(column_S[at]) for column_S in verdict.places[:3])
            is_banned = verdict.banned_S is not None and bool(verdict.banned_S[at])
            yield part, row, (BANNED if is_banned else NOT_FINITE).format(position)


def as_logprob(token: int, score: Score) -> Logprob:
    top = zip(score.top_ids_K.tolist(), score.top_K.tolist(), strict=True)
    return Logprob(token, score.logprob.item(), tuple(top), tuple(score.chosen_C.tolist()))
