"""Who checks schemas and answers: a child process that is killed when it takes too long."""

import asyncio
import os
import select
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec

from stemma.front.text.opinion import Opinion, Question

SECONDS = 1.0  # so long a question may take
START_SECONDS = 60.0
MAX_KNOWN = 256  # opinions on schemas that are kept


class Judge:
    """Answers one question after another. The child starts with the first one, and anew after it was killed.

    Used from one event loop, which never waits.
    """

    def __init__(self, seconds: float = SECONDS):
        self._seconds = seconds
        self._thread = ThreadPoolExecutor(1, "judge")  # alone touches the child
        self._child: subprocess.Popen[bytes] | None = None
        self._known: dict[Question, Opinion] = {}

    async def ask(self, question: Question) -> Opinion:
        if known := self._known.get(question):
            return known
        opinion = await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, question)
        if question.text is None and opinion.verdict != "unchecked":
            if len(self._known) == MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[question] = opinion
        return opinion

    def close(self) -> None:
        """Ends the child. What still waits for an opinion gets none."""
        self._thread.shutdown(cancel_futures=True)
        self._end()

    def _ask(self, question: Question) -> Opinion:
        try:
            child = self._child or self._start()
            return self._converse(child, msgspec.json.encode(question) + b"\n", self._seconds)
        except TimeoutError:
            self._end()
            return Opinion("unchecked", f"the check took longer than {self._seconds:g} s")
        except OSError as error:
            self._end()
            return Opinion("unchecked", f"the check failed: {error}")

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "stemma.front.text.validate"]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._converse(self._child, b"", START_SECONDS)
        return self._child

    def _converse(self, child: "subprocess.Popen[bytes]", line: bytes, seconds: float) -> Opinion:
        """Say a line, read a line. Raises TimeoutError, or OSError when the child has ended."""
        if child.stdin is None or child.stdout is None:
            raise OSError("no pipes")
        child.stdin.write(line)
        deadline = time.monotonic() + seconds
        said = b""
        while not said.endswith(b"\n"):
            if not select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError
            if not (new := os.read(child.stdout.fileno(), 1 << 16)):
                raise OSError("the process that checks has ended")
            said += new
        return msgspec.json.decode(said, type=Opinion)

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None
