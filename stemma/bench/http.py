"""HTTP as a measuring client needs it: lines of an answer as they come, with nothing between socket and clock."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from stemma.core.base.errors import BadRequest, Busy, ConfigError, EngineDead, StemmaError

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
    return EngineDead(f"{address.name}: {str(error) or type(error).__name__}")


async def lines(address: Address, path: str, body: bytes | None = None) -> AsyncGenerator[bytes, None]:
    """The lines of an answer as they come: of a POST if there is a body, else of a GET.

    Raises what the server refuses, and EngineDead when the connection fails.
    """
    writer = None
    try:
        context = ssl.create_default_context() if address.is_secure else None
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
        writer.write(_head(address, path, body) + (body or b""))
        status, headers = await _answer(reader)
        parts = _parts(reader, headers)
        if status != 200:
            raise refused(status, b"".join([part async for part in parts]))
        rest = b""
        async for part in parts:
            *whole, rest = (rest + part).split(b"\n")
            for line in whole:
                yield line
        if rest:
            yield rest
    except (OSError, EOFError, ValueError) as error:
        raise lost(address, error) from None
    finally:
        if writer is not None:
            writer.close()


async def events(address: Address, path: str, body: bytes) -> AsyncIterator[Any]:
    """The events of a stream, up to its [DONE]. Raises like `lines`, and what an event says of an error."""
    async for line in lines(address, path, body):
        if not line.startswith(b"data:"):
            continue
        if line[5:].strip() == b"[DONE]":
            return
        try:
            event = msgspec.json.decode(line[5:])
        except msgspec.DecodeError:
            raise EngineDead(f"{address.name}: an event that is no JSON: {line[:80]!r}") from None
        if error := event.get("error"):
            raise EngineDead(str(error.get("message", error) if isinstance(error, dict) else error))
        yield event
    raise lost(address, EOFError(CUT_SHORT))


async def fetch(address: Address, path: str) -> Any:
    """The JSON that a GET brings."""
    whole = b"\n".join([line async for line in lines(address, path)])
    try:
        return msgspec.json.decode(whole)
    except msgspec.DecodeError:
        raise BadRequest(f"{address.name}{path} does not answer with JSON") from None


def _head(address: Address, path: str, body: bytes | None) -> bytes:
    size = [] if body is None else [f"Content-Length: {len(body)}"]
    words = [f"{name}: {value}" for name, value in address.headers.items()]
    first = f"{'GET' if body is None else 'POST'} {address.base}{path} HTTP/1.1"
    return "\r\n".join([first, f"Host: {address.name}", "Connection: close", *words, *size, "", ""]).encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers; their names in small letters."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in head[1:] if line)
    return int(head[0].split()[1]), {name.lower(): value.strip() for name, _, value in fields}


async def _parts(reader: asyncio.StreamReader, headers: dict[str, str]) -> AsyncIterator[bytes]:
    """The body in pieces, however the server marks its end."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            yield (await reader.readexactly(size + 2))[:-2]
    elif "content-length" in headers:
        yield await reader.readexactly(int(headers["content-length"]))
    else:
        while part := await reader.read(1 << 16):
            yield part
