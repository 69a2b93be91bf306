"""What cannot be interrupted is done in a process of its own, which can be killed: `python -m ...child BACKEND PIPE`.

Both ends of it are here. Messages are MessagePack.
"""

import os
import resource
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import msgspec
from msgspec import Struct

from stemma.control.grammar.backend import BACKENDS
from stemma.control.grammar.matcher import Backend, Vocabulary, Whitespace
from stemma.core.base.errors import GrammarError
from stemma.core.base.numbers import format_bytes
from stemma.core.types.grammar import Grammar

NICE = 10  # what compiles takes what computing leaves
MEMORY_BYTES = 4 << 30  # that the child may hold as its own
STACK_BYTES = 512 << 20  # address space alone: schemas lead to schemas to any depth, and compilers recurse
DEPTH = 20_000  # of Python's own recursion, within that stack
START_SECONDS = 60.0  # for the child to import its library
MOST_BYTES = 64 << 20  # of what is prepared: to load it, a second for 11 MiB at worst, nothing can interrupt


class Answer(Struct):
    text: str
    is_refusal: bool = True


class Child:
    """The caller's end. Started by the first grammar, anew after one that had to be killed."""

    memory_bytes = MEMORY_BYTES

    def __init__(self, backend: str, seconds: float, vocabulary: Vocabulary, whitespace: Whitespace):
        self._backend = backend
        self._settings = vocabulary, whitespace
        self._seconds = seconds
        self._running: tuple[subprocess.Popen[bytes], Connection] | None = None

    def prepare(self, grammar: Grammar) -> str:
        """Raises GrammarError: refused, or over its budget of time or memory."""
        if self._running is None:
            ours, theirs = Pipe()
            with theirs:
                command = [sys.executable, "-m", __name__, self._backend, str(theirs.fileno()), str(self.memory_bytes)]
                self._running = subprocess.Popen(command, pass_fds=[theirs.fileno()]), ours
            # Libraries are imported before the clock of a grammar runs.
            self._ask(grammar, msgspec.msgpack.encode(self._settings), START_SECONDS)
        answer = msgspec.msgpack.decode(self._ask(grammar, msgspec.msgpack.encode(grammar), self._seconds), type=Answer)
        if answer.is_refusal:
            raise GrammarError(answer.text)
        return answer.text

    def close(self) -> None:
        if self._running is not None:
            process, pipe = self._running
            process.kill()
            process.wait()
            pipe.close()
            self._running = None

    def _ask(self, grammar: Grammar, message: bytes, seconds: float) -> bytes:
        assert self._running is not None
        _, pipe = self._running
        limit = f"{seconds:g} s (--grammar-compile-timeout)"
        try:
            pipe.send_bytes(message)
            if pipe.poll(seconds):
                return pipe.recv_bytes()
        except (EOFError, OSError):  # also in the middle of a message
            limit = f"{format_bytes(self.memory_bytes)} of memory"
        self.close()
        raise GrammarError(f"{grammar.kind}: to compile it takes more than {limit}; make it simpler")


def start_deep(work: threading.Thread) -> None:
    """Start a thread on a stack for deep recursion."""
    usual = threading.stack_size(STACK_BYTES)
    try:
        work.start()
    finally:
        threading.stack_size(usual)


def serve(backend: str, pipe: Connection) -> None:
    """The child's end: answer until the caller closes."""
    with suppress(EOFError, ConnectionError):
        maker = BACKENDS[backend](*msgspec.msgpack.decode(pipe.recv_bytes(), type=tuple[Vocabulary, Whitespace]))
        pipe.send_bytes(b"")
        while True:
            grammar = msgspec.msgpack.decode(pipe.recv_bytes(), type=Grammar)
            pipe.send_bytes(msgspec.msgpack.encode(answer_to(maker, grammar)))


def answer_to(backend: Backend, grammar: Grammar) -> Answer:
    try:
        text = backend.prepare(grammar)
        if len(text) > MOST_BYTES:
            raise GrammarError(f"{grammar.kind}: compiled it has over {MOST_BYTES >> 20} MiB; make it simpler")
    except GrammarError as error:
        return Answer(str(error))
    except (RecursionError, MemoryError) as error:
        return Answer(f"{grammar.kind}: it is too deep or too large ({type(error).__name__}); make it simpler")
    except Exception as error:  # a library's, or about a schema that is none
        return Answer(f"{grammar.kind}: it cannot be compiled: {error!r}")
    return Answer(text, is_refusal=False)


def main() -> None:
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[3]),) * 2)
    sys.setrecursionlimit(DEPTH)
    thread = threading.Thread(target=serve, args=(sys.argv[1], Connection(int(sys.argv[2]))))
    start_deep(thread)
    thread.join()


if __name__ == "__main__":
    main()
