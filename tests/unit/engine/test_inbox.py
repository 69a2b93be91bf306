"""What an engine does while nobody asks it for anything."""

import time
from typing import cast

import pytest

from stemma.control.scheduler.scheduler import Scheduler
from stemma.core.types.control import EngineReady, ToEngine
from stemma.core.wire.channel import EngineChannel
from stemma.engine import inbox
from stemma.engine.inbox import Inbox
from stemma.engine.outbox import Outbox
from stemma.engine.pace import Pace


class Silence:
    """A channel without messages; `returns_early` as one that a front came to. It is its own scheduler."""

    def __init__(self) -> None:
        self.waits: list[float | None] = []
        self.returns_early = True
        self.prepared = 0

    def receive(self, timeout_seconds: float | None) -> list[ToEngine]:
        self.waits.append(timeout_seconds)
        if timeout_seconds and not self.returns_early:
            time.sleep(timeout_seconds)
        return []

    def prepare(self) -> None:
        self.prepared += 1


def test_what_takes_long_is_done_in_the_first_idle_second_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "IDLE_SECONDS", 0.01)
    silence = Silence()
    channel, scheduler = cast(EngineChannel, silence), cast(Scheduler, silence)
    ready = EngineReady(context=1, max_total_tokens=1, page_size=1, vocab_size=1, load_seconds=0, startup_seconds=0)
    found = Inbox(channel, scheduler, Outbox(channel), Pace(), ready)
    found.drain(wait=False)
    found.drain(wait=True)
    assert silence.prepared == 0  # somebody came
    silence.returns_early = False
    for _ in range(3):
        found.drain(wait=True)
    assert silence.prepared == 1
    assert silence.waits == [0, 0.01, 0.01, None, None]
