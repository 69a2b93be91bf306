"""How a plan reaches the device."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol

from stemma.core.types.step import NO_TOKEN, Findings, Masks, StepPlan, StepResult, pack_spans, unpack_spans
from stemma.core.types.tokens import pack

Step = Callable[[StepPlan, Callable[[], Masks]], StepResult]

log = logging.getLogger(__name__)


class PendingStep(Protocol):
    """A step on its way."""

    def sample(self, masks: Masks) -> None:
        """What a masked plan waits for between its forward pass and its samples. Called once."""

    def wait(self) -> StepResult:
        """Blocks until the step has landed."""


class Executor(Protocol):
    """One device, or later many ranks. Plans are computed in the order of their launches."""

    def launch(self, plan: StepPlan) -> PendingStep:
        """Queue a plan's forward pass, and its samples unless masks are to come; may return before it is computed."""

    def close(self) -> None:
        """Nothing is launched afterwards."""


class LocalStep:
    """A step in the executor's thread or, once it is waited for, in the loop's own."""

    def __init__(self, masks: "Future[Masks]", result: Callable[[], StepResult]):
        self._masks = masks
        self._result = result

    def sample(self, masks: Masks) -> None:
        self._masks.set_result(masks)

    def wait(self) -> StepResult:
        return self._result()


class LocalExecutor:
    """One device in this process.

    With a depth above 1 the device has a thread of its own, so that the loop plans while it computes;
    at depth 1 there is nothing to overlap, and a thread would only cost its hand-over.
    """

    def __init__(self, step: Step, depth: int):
        self._step = step
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="device") if depth > 1 else None
        self._unmasked: Future[Masks] = Future()
        self._unmasked.set_result(Masks())
        self._masks = self._unmasked  # of the last step

    def launch(self, plan: StepPlan) -> LocalStep:
        self._masks = Future() if plan.is_masked else self._unmasked
        run = partial(isolate, self._step, plan, self._masks.result)
        return LocalStep(self._masks, run if self._thread is None else self._thread.submit(run).result)

    def close(self) -> None:
        self._masks.cancel()  # when the loop died before it said them, nobody ever would
        if self._thread is not None:
            self._thread.shutdown()


def isolate(step: Step, plan: StepPlan, masks: Callable[[], Masks]) -> StepResult:
    """Run a step; when it raises, run each row alone, so that a fault fails its own row and no other.

    Running a row again changes nothing: the same keys and values go to the same slots, and the token
    at a position is a pure function of logits and seed.
    """
    try:
        return step(plan, masks)
    except Exception as error:
        log.exception("step %d failed", plan.step)
        fault = Findings(fault=f"{type(error).__name__}: {error}")
    spans = list(unpack_spans(plan.spans))
    if len(spans) == 1:
        return StepResult(step=plan.step, tokens=pack((NO_TOKEN,)), findings={spans[0].row: fault})
    findings: dict[int, Findings] = {}
    tokens, computed = b"", 0
    for span in spans:
        seats = tuple(seat for seat in plan.seats if seat.row == span.row)
        news = {span.row: plan.news[span.row]} if span.row in plan.news else {}
        alone = StepPlan(step=plan.step, seats=seats, spans=pack_spans(span), news=news)
        result = isolate(step, alone, masks)
        tokens += result.tokens
        findings.update(result.findings)
        computed += result.computed
    return StepResult(step=plan.step, tokens=tokens, findings=findings, computed=computed)
