"""What cannot be interrupted is done in a process of its own, which can be killed: `python -m ...child BACKEND`.

Both ends of it are here. Messages are MessagePack, each after its length.
"""

import os
import resource
import select
import struct
import subprocess
import sys
import threading
import time
from typing import IO

import msgspec
from msgspec import Struct

from stemma.control.grammar.backend import BACKENDS
from stemma.control.grammar.matcher import Backend, Vocabulary
from stemma.core.base.errors import GrammarError
from stemma.core.types.grammar import Grammar

NICE = 10  # what compiles takes what computing leaves
MEMORY_BYTES = 4 << 30  # that the child may hold as its own
STACK_BYTES = 512 << 20  # address space alone: schemas lead to schemas to any depth, and compilers recurse
DEPTH = 20_000  # of Python's own recursion, within that stack
START_SECONDS = 60.0  # for the child to import its library
MOST_BYTES = 256 << 20  # of what is prepared: the caller reads it in one go, which nothing can interrupt
LENGTH = struct.Struct("<I")


class Answer(Struct):
    text: str
    is_refusal: bool = True


class Child:
    """The caller's end. Started by the first grammar, anew after one that had to be killed."""

    def __init__(self, backend: str, vocabulary: Vocabulary, seconds: float):
        self._backend = backend
        self._vocabulary = vocabulary
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self, grammar: Grammar) -> str:
        """Raises GrammarError: refused, or over its budget of time or memory."""
        if self._process is None:
            command = [sys.executable, "-m", __name__, self._backend]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._tell(msgspec.msgpack.encode(self._vocabulary))
            self._answer(grammar, START_SECONDS)  # libraries are imported before the clock of a grammar runs
        self._tell(msgspec.msgpack.encode(grammar))
        answer = msgspec.msgpack.decode(self._answer(grammar, self._seconds), type=Answer)
        if answer.is_refusal:
            raise GrammarError(answer.text)
        return answer.text

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _tell(self, message: bytes) -> None:
        assert self._process is not None and self._process.stdin is not None
        write(self._process.stdin, message)

    def _answer(self, grammar: Grammar, seconds: float) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        pipe, found, end = self._process.stdout, bytearray(), time.monotonic() + seconds
        while len(found) < LENGTH.size or len(found) < LENGTH.size + LENGTH.unpack_from(found)[0]:
            ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
            piece = os.read(pipe.fileno(), 1 << 20) if ready else b""
            if not piece:
                self.close()
                limit = f"{MEMORY_BYTES >> 30} GiB of memory" if ready else f"{seconds:g} s (--grammar-compile-timeout)"
                raise GrammarError(f"{grammar.kind}: to compile it takes more than {limit}; make it simpler")
            found += piece
        return bytes(found[LENGTH.size :])


def write(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(LENGTH.pack(len(message)) + message)
    pipe.flush()


def read(pipe: IO[bytes]) -> bytes | None:
    """None: the other end is closed."""
    head = pipe.read(LENGTH.size)
    return pipe.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else None


def start_deep(work: threading.Thread) -> None:
    """Start a thread on a stack for deep recursion."""
    usual = threading.stack_size(STACK_BYTES)
    try:
        work.start()
    finally:
        threading.stack_size(usual)


def serve(backend: str) -> None:
    """The child's end: answer until the caller closes."""
    pipe_in, pipe_out = sys.stdin.buffer, sys.stdout.buffer
    first = read(pipe_in)
    if first is None:
        return
    maker = BACKENDS[backend](msgspec.msgpack.decode(first, type=Vocabulary))
    write(pipe_out, b"")
    while (message := read(pipe_in)) is not None:
        write(pipe_out, msgspec.msgpack.encode(answer_to(maker, msgspec.msgpack.decode(message, type=Grammar))))


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
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    sys.setrecursionlimit(DEPTH)
    thread = threading.Thread(target=serve, args=(sys.argv[1],))
    start_deep(thread)
    thread.join()


if __name__ == "__main__":
    main()
