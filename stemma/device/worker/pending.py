"""Results on their way to the host: the one place where the device is waited for."""

from collections.abc import Sequence
from dataclasses import dataclass

from stemma.core.types.output import Logprob
from stemma.core.types.step import RowResult, StepPlan
from stemma.device.worker.logprobs import Score
from stemma.device.worker.sampler import Verdict


@dataclass(slots=True, frozen=True)
class PendingStep:
    """A step whose work is queued, and may still run."""

    plan: StepPlan
    drawn: Sequence[Verdict]
    scored: Sequence[Verdict]

    def wait(self) -> tuple[RowResult, ...]:
        """A result for each row of the plan, in its order."""
        results: dict[int, RowResult] = {}
        prompts: dict[int, list[Logprob]] = {}
        faults: dict[int, str] = {}
        rows = self.plan.rows
        for verdict in self.scored:
            for part, token, score in _landed(verdict, faults):
                if score is not None:
                    prompts.setdefault(part, []).append(as_logprob(token, score))
        for verdict in self.drawn:
            for part, token, score in _landed(verdict, faults):
                logprobs = () if score is None else (as_logprob(token, score),)
                results[part] = RowResult(rows[part].row, (token,), logprobs)
        for part, found in prompts.items():
            drawn = results.get(part) or RowResult(rows[part].row)
            results[part] = RowResult(drawn.row, drawn.tokens, drawn.logprobs, tuple(found))
        for part, fault in faults.items():
            results[part] = RowResult(rows[part].row, fault=fault)
        return tuple(results.get(part) or RowResult(row.row) for part, row in enumerate(rows))


def _landed(verdict: Verdict, faults: dict[int, str]) -> list[tuple[int, int, Score | None]]:
    """Part, token and score of each place, on the host; where logits were not finite, a fault."""
    parts, tokens = verdict.places.part_S.tolist(), verdict.tokens_S.tolist()
    if not verdict.finite_S.all():
        for at, is_finite in enumerate(verdict.finite_S.tolist()):
            if not is_finite:
                faults.setdefault(
                    parts[at],
                    f"the logits of the token at position {verdict.places.position_S[at]} are not finite: "
                    "a weight is damaged, or the model overflows this dtype; try float32",
                )
    scores = verdict.scores
    return [(part, token, scores.get(at)) for at, (part, token) in enumerate(zip(parts, tokens, strict=True))]


def as_logprob(token: int, score: Score) -> Logprob:
    top = zip(score.top_ids_K.tolist(), score.top_K.tolist(), strict=True)
    return Logprob(token, score.logprob.item(), tuple(top), tuple(score.chosen_C.tolist()))
