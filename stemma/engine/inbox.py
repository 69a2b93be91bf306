"""What the engine is told: messages become calls."""

import time
from typing import assert_never

import msgspec

from stemma.control.scheduler.scheduler import Scheduler
from stemma.core.types.control import AskStats, Chunks, EngineReady, Flush, Hello, Reply, ToEngine
from stemma.core.types.output import Finish, TokenChunk
from stemma.core.types.request import Abort, Request
from stemma.core.wire.channel import EngineChannel
from stemma.engine.outbox import Outbox
from stemma.engine.pace import Pace

IDLE_SECONDS = 1.0  # without a message, and whatever takes long and may be needed is done


class Inbox:
    """Reads the channel and turns each message, by its type, into a call."""

    def __init__(self, channel: EngineChannel, scheduler: Scheduler, outbox: Outbox, pace: Pace, ready: EngineReady):
        self._channel = channel
        self._scheduler = scheduler
        self._outbox = outbox
        self._pace = pace
        self._ready = ready
        self._started = time.monotonic()
        self._was_idle = False

    def drain(self, wait: bool) -> None:
        """Handle all messages that are there; with `wait`, block until there is one."""
        if wait and not self._was_idle:
            messages = self._first_idle()
        else:
            messages = self._channel.receive(None if wait else 0)
        for message in messages:
            self._handle(message)

    def _first_idle(self) -> list[ToEngine]:
        began = time.monotonic()
        messages = self._channel.receive(IDLE_SECONDS)  # may be back earlier, also without a message
        if not messages and time.monotonic() - began >= IDLE_SECONDS:
            self._was_idle = True
            self._scheduler.prepare()
        return messages

    def _handle(self, message: ToEngine) -> None:
        match message:
            case Request():
                if self._outbox.expect(message.id, message.reply_to):
                    self._scheduler.add(message)
                else:
                    self._outbox.reply(message.reply_to, Chunks(chunks=(taken(message.id),)))
            case Abort():
                self._scheduler.abort(message)
            case Hello(front=front):
                self._outbox.reply(front, self._ready)
            case Flush(id=id, reply_to=front):
                done = self._scheduler.flush()
                text = "Cache flushed." if done else "Requests are running or waiting; the cache was not flushed."
                self._outbox.reply(front, Reply(id=id, ok=done, message=text))
            case AskStats(id=id, reply_to=front):
                stats = msgspec.structs.replace(
                    self._scheduler.stats(),
                    output_tokens_per_second=self._pace.tokens_per_second(),
                    uptime_seconds=time.monotonic() - self._started,
                )
                self._outbox.reply(front, Reply(id=id, stats=stats))
            case _ as never:
                assert_never(never)


def taken(id: str) -> TokenChunk:
    """What a front hears whose request bears an id that another front's request has."""
    message = f"a request with the id {id!r} is being served already; choose another"
    return TokenChunk(id=id, finish=Finish(reason="error", code=400, detail=message))
