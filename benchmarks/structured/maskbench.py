"""MaskBench: schemas of the real world, each instance forced through the matcher token by token.

    python -m benchmarks.structured.maskbench SAMPLE VERDICTS [--backends chain,llguidance] [--tokenizer FOLDER]
        [--jobs 2] [--stop-after SECONDS]

SAMPLE has one JSON object a line: `name`, `schema`, `tests: [{valid, data}]` (guidance-ai/jsonschemabench; Geng et
al., "JSONSchemaBench", arXiv 2501.10868). VERDICTS gets a line per backend and schema; what stands there is not run
again, so a run may be stopped and gone on with. When all is there, one JSON line per backend is printed: schemas fully
right (compiled, every valid instance accepted, every invalid one refused), schemas refused, instances wrongly accepted
and wrongly rejected by the matcher alone, how many of the former a validator behind it would still catch, milliseconds
of compiling and microseconds of a mask. Backends run in processes of their own. A compile has `--seconds`; whoever
takes more than `--limit` for a schema and its instances is killed, and the schema counts as refused.
"""

import argparse
import gc
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import jsonschema
import msgspec
import numpy as np
import tokenizers
from msgspec import Struct
from numpy.typing import NDArray

from benchmarks.facts import report
from stemma.control.grammar.compiler import Compiler
from stemma.control.grammar.matcher import Compiled, Matcher, Vocabulary
from stemma.core.base.errors import GrammarError
from stemma.core.config.embedded import embedded_model_path
from stemma.core.types.grammar import Grammar

SPAWN = multiprocessing.get_context("spawn")


class Test(Struct):
    valid: bool
    data: Any


class Line(Struct):
    """One schema with its instances."""

    name: str
    schema: dict[str, Any] | bool
    tests: list[Test]


class Verdict(Struct):
    """What one backend did with one schema. Instances by their place; in `caught`, those that a validator refuses."""

    backend: str
    name: str
    refusal: str = ""
    wrong_accepts: list[int] = []
    wrong_rejects: list[int] = []
    caught: list[int] = []
    compile_ms: float = 0.0
    mask_us: list[float] = []


@dataclass(slots=True)
class Score:
    """Times so far."""

    schemas: int = 0
    compile_ms: list[float] = field(default_factory=list)  # of those that were served
    mask_us: list[float] = field(default_factory=list)


class Bench:
    """One backend."""

    def __init__(self, backend: str, folder: Path, seconds: float):
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        size = self.tokenizer.get_vocab_size()
        stop = self.tokenizer.token_to_id("<|im_end|>")
        assert stop is not None
        self.vocabulary = Vocabulary.from_folder(folder, size, (stop,))
        self.compiler = Compiler(self.vocabulary, backend, seconds, lambda: None)
        self.words = np.zeros(self.vocabulary.words, np.uint32)
        self.score = Score()
        self.refusal = ""

    def run(self, backend: str, line: Line) -> Verdict:
        self.score = Score()
        verdict = Verdict(backend, line.name)
        begun = time.perf_counter()
        compiled = self.compile(Grammar("json_schema", json.dumps(line.schema)))
        verdict.compile_ms = round((time.perf_counter() - begun) * 1e3, 2)
        if compiled is None:
            verdict.refusal = self.refusal
            return verdict
        for place, test in enumerate(line.tests):
            accepted = self.accepts(compiled.matcher(), test.data)
            if accepted and not test.valid:
                verdict.wrong_accepts.append(place)
                verdict.caught += [place] if not validates(line.schema, test.data) else []
            if test.valid and not accepted:
                verdict.wrong_rejects.append(place)
        verdict.mask_us = [round(each, 1) for each in self.score.mask_us]
        return verdict

    def compile(self, grammar: Grammar) -> Compiled | None:
        """None: refused, for the reason that `refusal` tells."""
        begun = time.perf_counter()
        compilation = self.compiler.start(grammar)
        while not compilation.ready:
            time.sleep(0.00005)
        milliseconds = (time.perf_counter() - begun) * 1e3
        try:
            compiled = compilation.result()
        except GrammarError as error:
            self.refusal = str(error)
            return None
        self.score.compile_ms.append(milliseconds)
        return compiled

    def accepts(self, matcher: Matcher, instance: object) -> bool:
        text = json.dumps(instance, ensure_ascii=False)
        for token in self.tokenizer.encode(text, add_special_tokens=False).ids:
            begun = time.perf_counter()
            try:
                matcher.fill_mask(self.words)
            except GrammarError:
                return False
            self.score.mask_us.append((time.perf_counter() - begun) * 1e6)
            if not matcher.accept(token):
                return False
        return matcher.is_complete


def validates(schema: Mapping[str, Any] | bool, instance: Any) -> bool:
    kind = jsonschema.validators.validator_for(schema)
    return kind(schema, format_checker=kind.FORMAT_CHECKER).is_valid(instance)


def lines_of(path: Path, every: int) -> Iterator[Line]:
    with path.open(encoding="utf-8") as file:
        for at, line in enumerate(file):
            if at % every == 0:
                yield msgspec.json.decode(line, type=Line)


class Runner:
    """A process that runs one backend, with whatever it starts. Killed and begun anew when a schema takes too long."""

    def __init__(self, backend: str, folder: Path, seconds: float, limit: float):
        self._backend = backend
        self._limit = limit
        self._made = (backend, folder, seconds)
        self._running: tuple[SpawnProcess, Connection] | None = None

    def run(self, line: Line) -> Verdict:
        if self._running is None:
            ours, theirs = SPAWN.Pipe()
            process = SPAWN.Process(target=serve, args=(*self._made, theirs))
            process.start()
            theirs.close()
            self._running = process, ours
            ours.recv_bytes()  # it is ready
        process, pipe = self._running
        pipe.send_bytes(msgspec.json.encode(line))
        if pipe.poll(self._limit):
            try:
                return msgspec.json.decode(pipe.recv_bytes(), type=Verdict)
            except EOFError:
                pass
        self.close()
        return Verdict(self._backend, line.name, f"it died, or took more than {self._limit:g} s")

    def close(self) -> None:
        if self._running is not None:
            process, pipe = self._running
            assert process.pid is not None
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
            pipe.close()
            self._running = None


def serve(backend: str, folder: Path, seconds: float, pipe: Connection) -> None:
    os.setpgid(0, 0)  # what it starts is killed with it
    bench = Bench(backend, folder, seconds)
    bench.compile(Grammar("json_schema", '{"type": "null", "not": {"enum": [1]}}'))  # libraries, tokenizer, child
    gc.disable()
    pipe.send_bytes(b"")
    with suppress(EOFError, OSError):  # nobody asks any more
        while True:
            line = msgspec.json.decode(pipe.recv_bytes(), type=Line)
            pipe.send_bytes(msgspec.json.encode(bench.run(backend, line)))
            gc.collect()


def run_all(args: argparse.Namespace, backend: str, lines: Sequence[Line]) -> None:
    """Each line once, on as many processes as there are jobs, until time is over."""
    todo: SimpleQueue[Line] = SimpleQueue()
    for line in lines:
        todo.put(line)
    ends = time.monotonic() + args.stop_after

    def work() -> None:
        runner = Runner(backend, args.tokenizer, args.seconds, args.limit)
        with args.verdicts.open("ab", buffering=0) as file, suppress(Empty):
            while time.monotonic() < ends:
                file.write(msgspec.json.encode(runner.run(todo.get_nowait())) + b"\n")
        runner.close()

    threads = [threading.Thread(target=work) for _ in range(min(args.jobs, len(lines)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def tell(args: argparse.Namespace, backend: str, verdicts: Sequence[Verdict]) -> None:
    served = [each for each in verdicts if not each.refusal]
    wrong = [each for each in served if each.wrong_accepts or each.wrong_rejects]
    masks = np.array([time for each in served for time in each.mask_us] or [np.nan])
    report(
        "maskbench",
        backend=backend,
        vocabulary=tokenizers.Tokenizer.from_file(str(args.tokenizer / "tokenizer.json")).get_vocab_size(),
        schemas=len(verdicts),
        right=len(served) - len(wrong),
        right_percent=round(100 * (len(served) - len(wrong)) / len(verdicts), 1),
        refused=len(verdicts) - len(served),
        schemas_with_wrong_accepts=sum(bool(each.wrong_accepts) for each in served),
        wrong_accepts=sum(len(each.wrong_accepts) for each in served),
        wrong_accepts_caught_by_validator=sum(len(each.caught) for each in served),
        wrong_rejects=sum(len(each.wrong_rejects) for each in served),
        compile_ms=percentiles([each.compile_ms for each in served]),
        refuse_ms=percentiles([each.compile_ms for each in verdicts if each.refusal]),
        mask_us={"mean": round(float(masks.mean()), 1), **percentiles(masks)},
        masks=len(masks),
        compile_limit_s=args.seconds,
        limit_s=args.limit,
        jobs=args.jobs,
    )


def percentiles(values: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    found = np.array(values if len(values) else [np.nan])
    names = {"p50": 50, "p99": 99, "max": 100}
    return {name: round(float(np.percentile(found, percent)), 2) for name, percent in names.items()}


def parser(says: str, backends: str) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=says)
    found.add_argument("sample", type=Path)
    found.add_argument("--backends", default=backends)
    found.add_argument("--tokenizer", type=Path, default=embedded_model_path(), help="folder of a tokenizer.json")
    found.add_argument("--every", type=int, default=1, help="take one schema of so many")
    found.add_argument("--seconds", type=float, default=10, help="that a compile may take")
    return found


def main() -> None:
    options = parser("MaskBench for every backend", "chain,llguidance,xgrammar,outlines")
    options.add_argument("verdicts", type=Path)
    options.add_argument("--limit", type=float, default=60, help="seconds for a schema with its instances")
    options.add_argument("--jobs", type=int, default=1, help="processes beside each other")
    options.add_argument(
        "--stop-after", type=float, default=float("inf"), help="seconds; the same command goes on later"
    )
    args = options.parse_args()
    lines = list(lines_of(args.sample, args.every))
    begun = time.monotonic()
    for backend in args.backends.split(","):
        known = {each.name for each in read(args.verdicts, backend)}
        args.stop_after -= time.monotonic() - begun
        begun = time.monotonic()
        run_all(args, backend, [line for line in lines if line.name not in known])
        verdicts = read(args.verdicts, backend)
        if len(verdicts) == len(lines):
            tell(args, backend, verdicts)


def read(path: Path, backend: str) -> list[Verdict]:
    if not path.exists():
        return []
    found = [msgspec.json.decode(line, type=Verdict) for line in path.read_bytes().splitlines()]
    return [*{each.name: each for each in found if each.backend == backend}.values()]


if __name__ == "__main__":
    main()
