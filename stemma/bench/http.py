"""HTTP as a measuring client needs it: events of an answer as they come, with nothing between socket and clock."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from stemma.core.base.errors import BadRequest, Busy, ConfigError, EngineDead, StemmaError

READ_BYTES = 1 << 14
CUT_SHORT = "the answer ended in the middle"


class Address(Struct, frozen=True, kw_only=True):
    """Where a server is, and the key it wants."""

    host: str
    port: int
    is_secure: bool = False
    base: str = ""  # stands before every path; a trailing /v1 is left out
    api_key: str | None = None

    @property
    def name(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        key = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return {"Content-Type": "application/json"} | key


def address_of(url: str, api_key: str | None = None) -> Address:
    """The server that a URL names. Raises ConfigError."""
    try:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        port = parts.port
    except ValueError:
        raise ConfigError(f"{url!r} is no address of a server; write http://127.0.0.1:30000") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{url!r} is no address of a server; write http://127.0.0.1:30000")
    is_secure = parts.scheme == "https"
    base = parts.path.rstrip("/").removesuffix("/v1")
    return Address(
        host=parts.hostname, port=port or (443 if is_secure else 80), is_secure=is_secure, base=base, api_key=api_key
    )


def refused(status: int, body: bytes) -> StemmaError:
    """What a server says that does not answer with 200."""
    try:
        found = msgspec.json.decode(body)
        found = found.get("error", found)
        message = str(found.get("message", found) if isinstance(found, dict) else found)
    except (msgspec.DecodeError, AttributeError):
        message = body[:200].decode(errors="replace")
    kind = Busy if status == Busy.status else BadRequest
    return kind(f"the server refused with {status}: {message}")


def lost(address: Address, error: Exception) -> EngineDead:
    """A connection that failed, or ended too early."""
    if isinstance(error, ConnectionRefusedError | socket.gaierror):
        reason = "connection refused" if isinstance(error, ConnectionRefusedError) else error.strerror
        return EngineDead(f"no server answers at {address.name} ({reason}); start one, or give another --url")
    return EngineDead(f"{address.name}: {str(error) or type(error).__name__}")


async def stream(address: Address, path: str, body: bytes, hear: Callable[[Any], None]) -> None:
    """POST, and say each event of the answer as it comes, up to its [DONE].

    Raises what the server refuses, what an event says of an error, what `hear` raises, and EngineDead when the
    connection fails.
    """
    is_done = False

    def read(line: bytes) -> None:
        nonlocal is_done
        if is_done or not line.startswith(b"data:"):
            return
        if is_done := line[5:].strip() == b"[DONE]":
            return
        try:
            event = msgspec.json.decode(line[5:])
        except msgspec.DecodeError:
            raise EngineDead(f"{address.name}: an event that is no JSON: {line[:80]!r}") from None
        if error := event.get("error"):
            raise EngineDead(str(error.get("message", error) if isinstance(error, dict) else error))
        hear(event)

    await _ask(address, path, body, read)
    if not is_done:
        raise lost(address, EOFError(CUT_SHORT))


async def fetch(address: Address, path: str) -> Any:
    """The JSON that a GET brings. Raises like `stream`."""
    lines: list[bytes] = []
    await _ask(address, path, None, lines.append)
    try:
        return msgspec.json.decode(b"\n".join(lines))
    except msgspec.DecodeError:
        raise BadRequest(f"{address.name}{path} does not answer with JSON") from None


async def _ask(address: Address, path: str, body: bytes | None, hear: Callable[[bytes], None]) -> None:
    """Send a POST if there is a body, else a GET; say each line of the answer."""
    loop, transport, refusal = asyncio.get_running_loop(), None, list[bytes]()
    try:
        context = ssl.create_default_context() if address.is_secure else None
        transport, answer = await loop.create_connection(
            lambda: _Answer(hear, refusal.append), address.host, address.port, ssl=context
        )
        transport.write(_head(address, path, body) + (body or b""))
        if (status := await answer.ended) != 200:
            raise refused(status, b"\n".join(refusal))
    except (OSError, EOFError, ValueError) as error:
        raise lost(address, error) from None
    finally:
        if transport is not None:
            transport.close()


def _head(address: Address, path: str, body: bytes | None) -> bytes:
    size = [] if body is None else [f"Content-Length: {len(body)}"]
    words = [f"{name}: {value}" for name, value in address.headers.items()]
    first = f"{'GET' if body is None else 'POST'} {address.base}{path} HTTP/1.1"
    return "\r\n".join([first, f"Host: {address.name}", "Connection: close", *words, *size, "", ""]).encode()


class _Answer(asyncio.BufferedProtocol):
    """Reads an answer inside the callbacks of its socket: between it and the clock stand no queue and no task.

    Says the lines of what is answered with 200 to `hear`, of everything else to `refuse`. Reads into memory of its own:
    what asyncio would give each read takes longer to make than the token that it is for.
    """

    def __init__(self, hear: Callable[[bytes], None], refuse: Callable[[bytes], None]):
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()  # its status
        self._hear = hear
        self._refuse = refuse
        self._memory = memoryview(bytearray(READ_BYTES))
        self._status = 0  # 0: the head is not whole
        self._is_chunked = False
        self._left: int | None = None  # bytes of the body that are to come, if the head told
        self._rest = b""  # of a head, or of a chunk, that is not whole
        self._line = b""  # which is not whole

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        if not self.ended.done():
            part = bytes(self._memory[:nbytes])
            try:
                self._read(part if self._status else self._body(self._rest + part))
            except Exception as error:
                self.ended.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Which is how a body ends whose length nobody told."""
        if not self.ended.done():
            is_cut = not self._status or self._is_chunked or self._left is not None
            if exc is not None or is_cut:
                self.ended.set_exception(exc or EOFError(CUT_SHORT))
            else:
                self._left = 0
                self.buffer_updated(0)

    def _body(self, part: bytes) -> bytes:
        """What stands behind the head, which is read once it is whole."""
        head, blank, body = part.partition(b"\r\n\r\n")
        self._rest = b"" if blank else head
        if blank:
            first, *lines = head.decode("latin-1").split("\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            self._status = int(first.split()[1])
            self._is_chunked = fields.get("transfer-encoding", "").lower() == "chunked"
            self._left = int(fields["content-length"]) if "content-length" in fields else None
            if self._status != 200:
                self._hear = self._refuse
        return body

    def _read(self, part: bytes) -> None:
        if self._is_chunked:
            part = self._whole_chunks(self._rest + part)
        elif self._left is not None:
            self._left -= len(part)
        *lines, self._line = (self._line + part).split(b"\n")
        for line in lines:
            self._hear(line)
        if self._left is not None and self._left <= 0:
            self._hear(self._line)
            self.ended.set_result(self._status)

    def _whole_chunks(self, part: bytes) -> bytes:
        """What is in them. The last one, which is empty, ends the body."""
        at, found = 0, list[bytes]()
        while (line := part.find(b"\r\n", at)) >= 0:
            size = int(part[at:line].partition(b";")[0], 16)
            end = line + 2 + size
            if not size:
                self._left = 0
            if not size or len(part) < end + 2:
                break
            found.append(part[line + 2 : end])
            at = end + 2
        self._rest = part[at:]
        return b"".join(found)
