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
        faults: dict[int, str] = {}
        prompts = self._landed(self.scored, faults)
        outputs = self._landed(self.drawn, faults)
        return tuple(
            RowResult(part.row, fault=faults[index])
            if index in faults
            else RowResult(
                part.row,
                tokens=tuple(token for token, _ in outputs[index]),
                logprobs=tuple(logprob for _, logprob in outputs[index] if logprob is not None),
                prompt_logprobs=tuple(logprob for _, logprob in prompts[index] if logprob is not None),
            )
            for index, part in enumerate(self.plan.rows)
        )

    def _landed(self, verdicts: Sequence[Verdict], faults: dict[int, str]) -> list[list[tuple[int, Logprob | None]]]:
        """Tokens and log-probabilities by row, on the host; rows whose logits were not finite go to `faults`."""
        landed: list[list[tuple[int, Logprob | None]]] = [[] for _ in self.plan.rows]
        for verdict in verdicts:
            tokens, finite = verdict.tokens_S.tolist(), verdict.finite_S.tolist()
            for place, token, is_finite, score in zip(verdict.places, tokens, finite, verdict.scores, strict=True):
                if not is_finite:
                    faults.setdefault(
                        place.part,
                        f"the logits of the token at position {place.position} are not finite: "
                        "a weight is damaged, or the model overflows this dtype; try float32",
                    )
                landed[place.part].append((token, None if score is None else as_logprob(token, score)))
        return landed


def as_logprob(token: int, score: Score) -> Logprob:
    top = zip(score.top_ids_K.tolist(), score.top_K.tolist(), strict=True)
    return Logprob(token, score.logprob.item(), tuple(top), tuple(score.chosen_C.tolist()))
