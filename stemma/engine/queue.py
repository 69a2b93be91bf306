"""How a plan reaches a device that queues work by itself: launched at once, from the loop's own thread."""

import logging
from concurrent.futures import Future
from functools import partial

from stemma.core.types.step import Masks, StepPlan
from stemma.device.worker.accelerated import AcceleratedWorker
from stemma.engine.executor import LocalStep, PendingStep, isolate

log = logging.getLogger(__name__)


class QueueExecutor:
    """The device needs no thread: a launch returns when its work is queued."""

    def __init__(self, worker: AcceleratedWorker):
        self._worker = worker

    def launch(self, plan: StepPlan) -> PendingStep:
        """A plan whose launch fails is launched row by row, each waited for, so that a fault fails its own row."""
        try:
            return self._worker.launch(plan)
        except Exception:
            log.exception("step %d could not be launched", plan.step)
        masks: Future[Masks] = Future()
        if not plan.is_masked:
            masks.set_result(Masks())
        return LocalStep(masks, partial(isolate, self._worker.step, plan, masks.result))

    def close(self) -> None:
        """Nothing is held."""
