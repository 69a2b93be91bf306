"""What the engine says: one message per front and step."""

from itertools import compress

from stemma.core.types.control import Chunks, FromEngine
from stemma.core.types.tokens import pack, unpack
from stemma.core.wire.channel import EngineChannel


class Outbox:
    """Knows which front waits for which request. Never blocks.

    Always: a request is known from `expect` until its finish was sent.
    """

    def __init__(self, channel: EngineChannel):
        self._channel = channel
        self._front_of: dict[str, int] = {}
        self._waiting: dict[int, int] = {}  # how many requests of each front, if any

    def expect(self, id: str, front: int) -> bool:
        """False: the id is taken by a request that has not ended."""
        if id in self._front_of:
            return False
        self._front_of[id] = front
        self._waiting[front] = self._waiting.get(front, 0) + 1
        return True

    def reply(self, front: int, message: FromEngine) -> None:
        self._channel.send(front, message)

    def send(self, said: Chunks) -> list[str]:
        """Send every part to the front that waits for it.

        Returns the requests that nobody will read any more: those of fronts that are gone or too far behind.
        """
        parts = [(front, said) for front in self._waiting]
        if len(parts) > 1:
            parts = self._parted(said)
        for chunk in said.chunks:
            if chunk.finish is not None:
                self._forget(chunk.id)
        unread: list[str] = []
        for front, mine in parts:
            if not self._channel.send(front, mine):
                unread += [id for id, owner in self._front_of.items() if owner == front]
        return unread

    def _forget(self, id: str) -> None:
        front = self._front_of.pop(id)
        self._waiting[front] -= 1
        if not self._waiting[front]:
            del self._waiting[front]

    def _parted(self, said: Chunks) -> list[tuple[int, Chunks]]:
        fronts = {self._front_of[id] for id in (*said.ids, *(chunk.id for chunk in said.chunks))}
        return [(front, said if len(fronts) == 1 else self._part(said, front)) for front in sorted(fronts)]

    def _part(self, said: Chunks, front: int) -> Chunks:
        mine = [self._front_of[id] == front for id in said.ids]
        return Chunks(
            chunks=tuple(chunk for chunk in said.chunks if self._front_of[chunk.id] == front),
            ids=tuple(compress(said.ids, mine)),
            tokens=pack(compress(unpack(said.tokens), mine)),
        )
