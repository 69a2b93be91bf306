"""How much memory requests may hold, all together; and the thread in which the largest are read, one by one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from stemma.core.base.errors import BadRequest, Busy
from stemma.core.base.numbers import format_bytes
from stemma.front.dialect.gather import Take


class Room:
    """Memory of this server that its requests share. Used from one event loop.

    `line` has one thread: while a body is read it takes up to 30 times its size, so no two large ones are at once.
    """

    def __init__(self, size: int):
        self.held = 0
        self.line = ThreadPoolExecutor(1, "large-bodies")
        self._size = size

    @contextmanager
    def lend(self) -> Iterator[Take]:
        """A function that takes so many bytes more. On leaving all of them come back.

        It raises Busy while others hold them, BadRequest when there never are so many.
        """
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if taken + size > self._size:
                raise BadRequest(
                    f"the request needs {format_bytes(taken + size)} of memory until it is answered, and this "
                    f"server has {format_bytes(self._size)} for all; ask for fewer prompts, answers or "
                    "log-probabilities at once"
                )
            if self.held + size > self._size:
                raise Busy(
                    f"requests in service hold {format_bytes(self.held)} of the {format_bytes(self._size)} that this "
                    f"server has for them, and this one needs {format_bytes(size)}; try again later"
                )
            self.held += size
            taken += size

        try:
            yield take
        finally:
            self.held -= taken
