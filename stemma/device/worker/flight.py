"""A step on an accelerator, from its launch to its landing: the one place where that device is waited for.

N rows of the plan, S places, W places whose log-probabilities are wanted
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stemma.core.types.output import Logprob
from stemma.core.types.step import NO_TOKEN, Findings, Masks, StepResult
from stemma.device.ops.cpu.sampling import Records, Scores
from stemma.device.ops.inputs import Ints
from stemma.device.worker.logprobs import Score
from stemma.device.worker.pending import BANNED, NOT_FINITE, as_logprob
from stemma.device.worker.staging import Slot

Words = NDArray[np.int32]

ALL_BANNED = NO_TOKEN - 1  # comes back in place of a token where none was left to draw


@dataclass(slots=True, frozen=True)
class Scored:
    """Log-probabilities on their way: of these tokens, in memory of the host."""

    row_W: Ints
    position_W: Ints
    place_W: Ints  # of the two that follow
    tokens_S: Tensor
    finite_S: Tensor
    wants_W: Records
    scores: Scores

    def logprobs(self) -> Iterator[tuple[int, Logprob]]:
        """With the row of each."""
        for w, want in enumerate(self.wants_W):
            top = want["top"]
            score = Score(
                self.scores.logprobs_W[w],
                self.scores.top_ids_WK[w, :top],
                self.scores.top_WK[w, :top],
                self.scores.chosen_WC[w, : want["num_chosen"]],
            )
            yield int(self.row_W[w]), as_logprob(int(self.tokens_S[self.place_W[w]]), score)

    def faults(self) -> Iterator[tuple[int, int]]:
        """Rows and positions whose logits were not finite, the last one first."""
        for w in reversed(range(len(self.row_W))):
            if not self.finite_S[self.place_W[w]]:
                yield int(self.row_W[w]), int(self.position_W[w])


@dataclass(slots=True, eq=False)
class Flight:
    """A launched step. `draw` queues its draws, which wait for masks if the plan says so."""

    step: int
    spans_N4: Ints
    computed: int  # tokens
    rows: int  # with those that fill it up
    slot: Slot
    draw: Callable[["Flight", Masks], None]
    drawn: list[Scored] = field(default_factory=list)
    prompts: list[Scored] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def sample(self, masks: Masks) -> None:
        self.draw(self, masks)

    def wait(self) -> StepResult:
        """Blocks until the step has landed."""
        self.slot.mark.wait()
        seconds = time.perf_counter() - self.began
        found_N = self.slot.found[: len(self.spans_N4)]
        findings = self._logprobs() if self.drawn or self.prompts else {}
        tokens_N = np.where(self.spans_N4[:, 3] != 0, found_N, NO_TOKEN)
        if tokens_N.min(initial=0) < 0 or self.prompts:
            self._faults(found_N, tokens_N, findings)
        return StepResult(
            step=self.step, tokens=tokens_N.tobytes(), findings=findings, seconds=seconds, computed=self.computed
        )

    def _logprobs(self) -> dict[int, Findings]:
        own: dict[int, tuple[list[Logprob], list[Logprob]]] = {}
        for place, kind in enumerate((self.drawn, self.prompts)):
            for scored in kind:
                for row, logprob in scored.logprobs():
                    own.setdefault(row, ([], []))[place].append(logprob)
        return {row: Findings(tuple(drawn), tuple(prompt)) for row, (drawn, prompt) in own.items()}

    def _faults(self, found_N: Words, tokens_N: Words, findings: dict[int, Findings]) -> None:
        """Enter who has no token, and why."""
        row_N, start_N, count_N, draws_N = self.spans_N4.T
        for part in ((draws_N != 0) & (found_N < 0)).nonzero()[0]:
            why = BANNED if found_N[part] == ALL_BANNED else NOT_FINITE
            findings[int(row_N[part])] = Findings(fault=why.format(start_N[part] + count_N[part]))
            tokens_N[part] = NO_TOKEN
        for scored in self.prompts:  # of two faults the earlier position's is told
            for row, position in scored.faults():
                findings[row] = Findings(fault=NOT_FINITE.format(position))
                tokens_N[row_N == row] = NO_TOKEN
