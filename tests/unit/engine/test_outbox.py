"""What a step says goes to the fronts that wait for it."""

from stemma.core.types.control import Chunks, FromEngine
from stemma.core.types.output import Finish, TokenChunk
from stemma.core.types.tokens import pack
from stemma.core.wire.local import LocalEngineChannel
from stemma.engine.outbox import Outbox


class Wire(LocalEngineChannel):
    """Writes down who was sent what; front 7 is gone."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, list[TokenChunk]]] = []

    def send(self, front: int, message: FromEngine) -> bool:
        assert isinstance(message, Chunks)
        self.sent.append((front, list(message.every())))
        return front != 7


def test_every_front_gets_its_own_part() -> None:
    wire = Wire()
    outbox = Outbox(wire)
    for id, front in (("a", 0), ("b", 7), ("c", 0), ("d", 7), ("e", 7)):
        assert outbox.expect(id, front)
    end = TokenChunk(id="d", finish=Finish(reason="length"))
    unread = outbox.send(Chunks(chunks=(end,), ids=("a", "b", "c"), tokens=pack([11, 12, 13])))
    mine = [TokenChunk(id="a", tokens=(11,)), TokenChunk(id="c", tokens=(13,))]
    assert wire.sent == [(0, mine), (7, [TokenChunk(id="b", tokens=(12,)), end])]
    assert unread == ["b", "e"]  # d has ended


def test_what_one_front_waits_for_travels_as_it_is() -> None:
    wire = Wire()
    outbox = Outbox(wire)
    outbox.expect("a", 3)
    said = Chunks(ids=("a",), tokens=pack([5]))
    assert outbox.send(said) == []
    assert wire.sent == [(3, [TokenChunk(id="a", tokens=(5,))])]
    assert not outbox.expect("a", 4)
