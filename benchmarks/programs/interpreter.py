"""What the interpreter of programs adds to a primitive: on a backend that answers at once.

    python -m benchmarks.programs.interpreter

One JSON line: microseconds for each primitive, with threads and without; the least of some rounds, of many in a row.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import stemma as sgl
from benchmarks.facts import report
from stemma.front.lang.backends.backend import Answer, BaseBackend
from stemma.front.lang.choices import ChoicesDecision, ChoicesSamplingMethod
from stemma.front.lang.program import SglFunction
from stemma.front.lang.sampling import Json, Sampling
from stemma.front.lang.transcript import Transcript

TIMES, ROUNDS = 2000, 7


class Instant(BaseBackend):
    """Has no model."""

    def generate(self, transcript: Transcript, sampling: Sampling) -> Answer:
        return "answer", {}

    def generate_stream(self, transcript: Transcript, sampling: Sampling) -> Iterator[tuple[str, Json]]:
        yield "answer", {}

    def select(
        self, transcript: Transcript, choices: Sequence[str], temperature: float, method: ChoicesSamplingMethod
    ) -> ChoicesDecision:
        return ChoicesDecision(choices[0], {})


@sgl.function
def text(s: Any) -> None:
    for _ in range(TIMES):
        s += "word "


@sgl.function
def gen(s: Any) -> None:
    for _ in range(TIMES):
        s += sgl.gen("x", max_tokens=8, stop="\n")


@sgl.function
def gen_and_read(s: Any) -> None:
    for _ in range(TIMES // 2):
        s += sgl.gen("x", max_tokens=8, stop="\n")
        s["x"]


@sgl.function
def select(s: Any) -> None:
    for _ in range(TIMES):
        s += sgl.select("x", ["a", "b"])


@sgl.function
def turn(s: Any) -> None:
    for _ in range(TIMES // 3):
        s += sgl.user("Hi")


@sgl.function
def scope(s: Any) -> None:
    for _ in range(TIMES // 3):
        with s.var_scope("x"):
            s += "a"


@sgl.function
def fork(s: Any) -> None:
    """A branch, what it says, and its join."""
    for _ in range(TIMES // 24):
        forks = s.fork(8)
        forks += "a"
        forks.join()


def microseconds(program: SglFunction, **options: bool) -> float:
    backend, least = Instant(), float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        program.run(backend=backend, **options).sync()
        least = min(least, time.perf_counter() - began)
    return round(least / TIMES * 1e6, 1)


def main() -> None:
    programs = (text, gen, gen_and_read, select, turn, scope, fork)
    with_threads = {program.func.__name__: microseconds(program) for program in programs}
    without = {program.func.__name__: microseconds(program, use_thread=False) for program in programs}
    report("interpreter", us=with_threads, us_without_threads=without, times=TIMES, rounds=ROUNDS)


if __name__ == "__main__":
    main()
