"""The one loop: receive, plan, launch, absorb, send."""

from collections import deque
from typing import NoReturn

import torch

from stemma.control.scheduler.scheduler import Scheduler
from stemma.core.types.control import Chunks
from stemma.core.types.request import Abort
from stemma.engine.executor import Executor, PendingStep
from stemma.engine.inbox import Inbox
from stemma.engine.outbox import Outbox
from stemma.engine.pace import Pace


class EngineLoop:
    """`depth` steps may be in flight: 1 waits for each step, 2 plans the next one while one runs."""

    def __init__(self, scheduler: Scheduler, executor: Executor, inbox: Inbox, outbox: Outbox, pace: Pace, depth: int):
        self.scheduler = scheduler
        self.executor = executor
        self.inbox = inbox
        self.outbox = outbox
        self.pace = pace
        self.depth = depth
        self.flying: deque[PendingStep] = deque()

    def run(self) -> NoReturn:
        """Turn until the channel is closed. The mode is entered once: for each step it would take microseconds."""
        with torch.inference_mode():
            while True:
                self.turn()

    def turn(self) -> None:
        """One turn. Blocks only for a message when there is nothing to do, or for the oldest step in flight."""
        self.inbox.drain(wait=not self.flying and not self.scheduler.can_plan)
        plan = self.scheduler.plan()
        self.send(self.scheduler.drain())  # before the launch, which at depth 1 takes as long as the step
        if plan is not None:
            step = self.executor.launch(plan)
            if plan.is_masked:
                self.land(all_of_them=True)  # a grammar must have seen every earlier token
                step.sample(self.scheduler.masks())
            self.flying.append(step)
        self.land(all_of_them=plan is None)

    def land(self, all_of_them: bool) -> None:
        while self.flying and (all_of_them or len(self.flying) >= self.depth):
            result = self.flying.popleft().wait()  # the only place where the loop waits for the device
            self.send(self.scheduler.absorb(result))

    def close(self) -> None:
        """Nothing is launched or compiled afterwards."""
        self.executor.close()
        self.scheduler.close()

    def send(self, said: Chunks) -> None:
        if said.chunks or said.ids:
            self.pace.mark(self.scheduler.ledger.output_tokens)
            for id in self.outbox.send(said):
                self.scheduler.abort(Abort(id=id, reason="left"))
