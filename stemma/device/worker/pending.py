"""Results on their way to the host: the one place where the device is waited for.

S places
"""

from collections.abc import Iterator, Sequence

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


def settled(tokens: bytes, drawn: Sequence[Verdict], scored: Sequence[Verdict]) -> tuple[bytes, dict[int, Findings]]:
    """Packed tokens, one for each row of a plan in its order, and what was found beside them, by row."""
    found: dict[int, tuple[list[Logprob], list[Logprob]]] = {}
    for kind, verdicts in enumerate((drawn, scored)):
        for verdict in verdicts:
            if verdict.scores:
                for row, logprob in _logprobs(verdict):
                    found.setdefault(row, ([], []))[kind].append(logprob)
    findings = {row: Findings(tuple(own), tuple(prompt)) for row, (own, prompt) in found.items()}
    for verdict in (*drawn, *scored):  # of two faults the earlier position's is told
        if 0 in verdict.finite_S.numpy().tobytes():  # a tenth of what `all` takes
            for part, row, fault in _faults(verdict):
                tokens = tokens[: part * WIDTH] + pack((NO_TOKEN,)) + tokens[(part + 1) * WIDTH :]
                findings[row] = Findings(fault=fault)
    return tokens, findings


def _logprobs(verdict: Verdict) -> Iterator[tuple[int, Logprob]]:
    """With the row of each."""
    tokens, rows = verdict.tokens_S.tolist(), verdict.places.row_S.tolist()
    for at, score in verdict.scores.items():
        yield rows[at], as_logprob(tokens[at], score)


def _faults(verdict: Verdict) -> Iterator[tuple[int, int, str]]:
    """Part, row and message of each place without a token, the last one first."""
    for at in reversed((~verdict.finite_S).nonzero().flatten().tolist()):
        part, row, position = (int(column_S[at]) for column_S in verdict.places[:3])
        is_banned = verdict.banned_S is not None and bool(verdict.banned_S[at])
        yield part, row, (BANNED if is_banned else NOT_FINITE).format(position)


def as_logprob(token: int, score: Score) -> Logprob:
    top = zip(score.top_ids_K.tolist(), score.top_K.tolist(), strict=True)
    return Logprob(token, score.logprob.item(), tuple(top), tuple(score.chosen_C.tolist()))
