"""What goes over the wire is what h11 would have sent, at once or a turn of the loop later."""

import asyncio

import h11
import pytest

from stemma.front.server.outlet import LARGE, Burst, Framing, Outlet

PIECES = (b"data: 1\n\n", b"", b"x" * 300, b"\r\n0\r\n\r\n")
LENGTH = ("Content-Length", str(sum(map(len, PIECES))))


def sent(connection: h11.Connection, request: bytes, headers: list[tuple[str, str]]) -> bytes:
    """An answer in pieces, over a connection that heard this request; and the next one, if it stays open."""
    parts: list[bytes | None] = []
    for _ in range(2):
        connection.receive_data(request)
        while not isinstance(connection.next_event(), h11.EndOfMessage):
            pass
        pieces = b"" if request.startswith(b"HEAD") else b"".join(PIECES)
        parts.append(connection.send(h11.Response(status_code=200, headers=headers)))
        parts += [connection.send(h11.Data(data=piece if pieces else b"")) for piece in PIECES]
        parts.append(connection.send(h11.EndOfMessage()))
        if connection.our_state is not h11.DONE:
            break
        connection.start_next_cycle()
    return b"".join(part or b"" for part in parts)


@pytest.mark.parametrize("headers", [[], [LENGTH]])
@pytest.mark.parametrize(
    "request_", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n", b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"]
)
def test_answers_are_framed_as_by_h11(request_: bytes, headers: list[tuple[str, str]]) -> None:
    assert sent(Framing(), request_, headers) == sent(h11.Connection(h11.SERVER), request_, headers)


def test_after_the_end_of_a_body_a_piece_is_a_fault() -> None:
    connection = Framing()
    connection.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    connection.next_event()
    connection.next_event()
    for event in (h11.Response(status_code=200, headers=[]), h11.Data(data=b"a"), h11.EndOfMessage()):
        connection.send(event)
    with pytest.raises(h11.LocalProtocolError):
        connection.send(h11.Data(data=b"b"))


class Pipe(asyncio.Transport):
    def __init__(self, log: list[tuple[str, bytes]], name: str):
        super().__init__()
        self._log = log
        self._name = name

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._log.append((self._name, bytes(data)))

    def close(self) -> None:
        self._log.append((self._name, b"closed"))


def test_a_burst_goes_out_after_the_turn_and_before_a_connection_closes() -> None:
    async def main() -> None:
        log: list[tuple[str, bytes]] = []
        burst = Burst()
        first, second = (Outlet(Pipe(log, name), burst) for name in "ab")
        for outlet, part in ((first, b"1"), (second, b"2"), (first, b"3")):
            outlet.write(part)
        assert log == []
        await asyncio.sleep(0)
        assert log == [("a", b"1"), ("b", b"2"), ("a", b"3")]
        first.write(b"4")
        second.write(b"5")
        first.close()
        assert log[3:] == [("a", b"4"), ("b", b"5"), ("a", b"closed")]
        await asyncio.sleep(0)
        assert len(log) == 6
        first.write(large := b"6" * LARGE)
        assert log[6:] == [("a", large)]

    asyncio.run(main())
