"""What the engine says: one message per front and step."""

from collections import defaultdict

from stemma.core.types.control import Chunks, FromEngine
from stemma.core.types.output import TokenChunk
from stemma.core.wire.channel import EngineChannel


class Outbox:
    """Knows which front waits for which request. Never blocks.

    Always: a request is known from `expect` until its finish was sent.
    """

    def __init__(self, channel: EngineChannel):
        self._channel = channel
        self._front_of: dict[str, int] = {}

    def expect(self, id: str, front: int) -> bool:
        """False: the id is taken by a request that has not ended."""
        if id in self._front_of:
            return False
        self._front_of[id] = front
        return True

    def reply(self, front: int, message: FromEngine) -> None:
        self._channel.send(front, message)

    def send(self, chunks: list[TokenChunk]) -> list[str]:
        """Send every chunk to the front that waits for it.

        Returns the requests that nobody will read any more: those of fronts that are gone or too far behind.
        """
        by_front: defaultdict[int, list[TokenChunk]] = defaultdict(list)
        for chunk in chunks:
            by_front[self._front_of[chunk.id]].append(chunk)
            if chunk.finish is not None:
                del self._front_of[chunk.id]
        unread: list[str] = []
        for front, mine in by_front.items():
            if not self._channel.send(front, Chunks(chunks=tuple(mine))):
                unread += [id for id, owner in self._front_of.items() if owner == front]
        return unread
