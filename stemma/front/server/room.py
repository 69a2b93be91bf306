"""How much memory requests may hold, all together; and the thread in which the largest are read, one by one."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from stemma.core.base.errors import BadRequest, Busy, StemmaError
from stemma.core.base.numbers import format_bytes
from stemma.front.dialect.gather import Take

T = TypeVar("T")


class Room:
    """Memory of this server that its requests share. Used from one event loop."""

    def __init__(self, size: int):
        self.held = 0
        self._size = size
        self._line = ThreadPoolExecutor(1, "large-bodies")
        self._rested = 0.0  # when the line may go on

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

    async def alone(self, function: Callable[[], T]) -> T:
        """Call what takes many times more while it runs: in a thread, one after another."""
        return await asyncio.get_running_loop().run_in_executor(self._line, self._rest_and_call, function)

    def _rest_and_call(self, function: Callable[[], T]) -> T:
        # A body of many small parts is read in one go, in which the event loop stands: it gets as much time after it.
        time.sleep(max(0.0, self._rested - time.monotonic()))
        began = time.monotonic()
        try:
            return function()
        except StemmaError as error:
            raise error.with_traceback(None) from None  # whose frames would hold what was read until somebody is told
        finally:
            ended = time.monotonic()
            self._rested = ended + (ended - began)
