"""Connections to one server, each of which serves many requests, one after another."""

import os
import ssl
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from stemma.front.lang.errors import Misuse


class Connections:
    """As many as there are requests at once, to a server or the proxy that the environment names for it.

    `verify` is False, or the path of the certificates to trust. Used from many threads.
    """

    def __init__(self, url: str, verify: bool | str | None):
        self._idle: dict[int, list[HTTPConnection]] = defaultdict(list)  # of each process: forks do not share them
        place = urlsplit(url)
        if place.scheme not in ("http", "https") or place.hostname is None:
            raise Misuse(f"{url!r} is no address of a server, as http://127.0.0.1:30000 is")
        is_safe = place.scheme == "https"
        self._kind: Callable[[str, int | None], HTTPConnection] = HTTPConnection
        if is_safe:
            self._kind = partial(HTTPSConnection, context=_context(verify))
        proxy = "" if proxy_bypass(place.hostname) else getproxies().get(place.scheme, "")
        self._door = urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else place
        self._behind = (place.hostname, place.port) if proxy and is_safe else None
        self._prefix = url if proxy and not is_safe else place.path  # of what is asked for

    def close(self) -> None:
        """Those that nobody uses now."""
        while self._idle:
            for connection in self._idle.popitem()[1]:
                connection.close()

    __del__ = close

    @contextmanager
    def answer(self, path: str, content: bytes | None, headers: Mapping[str, str]) -> Iterator[HTTPResponse]:
        """What the server says: to POST, or to GET where there is no content.

        A connection whose answer was not read to its end is closed; so the server knows that nobody waits.
        """
        connection, response = self._asked(path, content, headers)
        try:
            yield response
        finally:
            if response.isclosed() and not response.will_close:
                self._idle[os.getpid()].append(connection)
            else:
                connection.close()

    def _asked(
        self, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[HTTPConnection, HTTPResponse]:
        idle = self._idle[os.getpid()]
        while True:
            try:
                connection, is_new = idle.pop(), False
            except IndexError:
                connection, is_new = self._opened(), True
            try:
                connection.request("GET" if content is None else "POST", self._prefix + path, content, headers)
                return connection, connection.getresponse()
            except BaseException as error:
                connection.close()
                if is_new or not isinstance(error, ConnectionError):
                    raise  # else the server had closed it meanwhile, as servers do

    def _opened(self) -> HTTPConnection:
        connection = self._kind(str(self._door.hostname), self._door.port)
        if self._behind is not None:
            connection.set_tunnel(*self._behind)
        return connection


def _context(verify: bool | str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
