"""MaskBench: schemas of the real world, each instance forced through the matcher token by token.

    python -m benchmarks.structured.maskbench SAMPLE [--backends chain,llguidance] [--tokenizer FOLDER] [--every N]

SAMPLE has one JSON object a line: `name`, `schema`, `tests: [{valid, data}]` (guidance-ai/jsonschemabench; Geng et
al., "JSONSchemaBench", arXiv 2501.10868). One JSON line per backend: schemas fully right (compiled, every valid
instance accepted, every invalid one refused), schemas refused, instances wrongly accepted and wrongly rejected by the
matcher alone, how many of the former a validator behind it would still catch, milliseconds of compiling and
microseconds of a mask. Each backend runs in a process of its own; a compile has `--seconds`.
"""

import argparse
import gc
import json
import multiprocessing
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import tokenizers
from msgspec import Struct

from benchmarks.facts import report
from stemma.control.grammar.compiler import Compiler
from stemma.control.grammar.matcher import Compiled, Matcher, Vocabulary
from stemma.core.base.errors import GrammarError
from stemma.core.config.embedded import embedded_model_path
from stemma.core.types.grammar import Grammar


class Test(Struct):
    valid: bool
    data: Any


class Line(Struct):
    """One schema with its instances."""

    name: str
    schema: dict[str, Any] | bool
    tests: list[Test]


@dataclass(slots=True)
class Score:
    """What one backend did."""

    schemas: int = 0
    right: int = 0
    refused: int = 0
    wrong_accepts: int = 0  # instances
    wrong_rejects: int = 0
    caught: int = 0  # wrong accepts that a validator refuses
    compile_ms: list[float] = field(default_factory=list)  # of those that were served
    refuse_ms: list[float] = field(default_factory=list)
    mask_us: list[float] = field(default_factory=list)


class Bench:
    """One backend over the whole sample."""

    def __init__(self, backend: str, folder: Path, seconds: float):
        text = (folder / "tokenizer.json").read_text()
        self.tokenizer = tokenizers.Tokenizer.from_str(text)
        size = self.tokenizer.get_vocab_size()
        stop = self.tokenizer.token_to_id("<|im_end|>")
        assert stop is not None
        self.vocabulary = Vocabulary(text, size, (stop,))
        self.compiler = Compiler(self.vocabulary, backend, seconds, lambda: None)
        self.words = np.zeros(self.vocabulary.words, np.uint32)
        self.score = Score()

    def run(self, line: Line) -> None:
        self.score.schemas += 1
        compiled = self.compile(Grammar("json_schema", json.dumps(line.schema)))
        if compiled is None:
            self.score.refused += 1
            return
        is_right = True
        for test in line.tests:
            accepted = self.accepts(compiled.matcher(), test.data)
            if accepted != test.valid:
                is_right = False
                if accepted:
                    self.score.wrong_accepts += 1
                    self.score.caught += not validates(line.schema, test.data)
                else:
                    self.score.wrong_rejects += 1
        self.score.right += is_right

    def compile(self, grammar: Grammar) -> Compiled | None:
        begun = time.perf_counter()
        compilation = self.compiler.start(grammar)
        while not compilation.ready:
            time.sleep(0.00005)
        milliseconds = (time.perf_counter() - begun) * 1e3
        try:
            compiled = compilation.result()
        except GrammarError:
            self.score.refuse_ms.append(milliseconds)
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


def one_backend(backend: str, path: Path, folder: Path, every: int, seconds: float) -> None:
    bench = Bench(backend, folder, seconds)
    bench.compile(Grammar("json_schema", '{"type": "null", "not": {"enum": [1]}}'))  # libraries, tokenizer, child
    bench.score = Score()
    gc.disable()
    for line in lines_of(path, every):
        bench.run(line)
    gc.enable()
    score, masks = bench.score, np.array(bench.score.mask_us or [np.nan])
    report(
        "maskbench",
        backend=backend,
        vocabulary=bench.vocabulary.size,
        schemas=score.schemas,
        right=score.right,
        right_percent=round(100 * score.right / score.schemas, 1),
        refused=score.refused,
        wrong_accepts=score.wrong_accepts,
        wrong_accepts_caught_by_validator=score.caught,
        wrong_rejects=score.wrong_rejects,
        compile_ms=percentiles(score.compile_ms),
        refuse_ms=percentiles(score.refuse_ms),
        mask_us={"mean": round(float(masks.mean()), 1), **percentiles(score.mask_us)},
        masks=len(score.mask_us),
        compile_limit_s=seconds,
    )
    bench.compiler.close()


def percentiles(values: list[float]) -> dict[str, float]:
    found = np.array(values or [np.nan])
    names = {"p50": 50, "p99": 99, "max": 100}
    return {name: round(float(np.percentile(found, percent)), 2) for name, percent in names.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="MaskBench for every backend")
    parser.add_argument("sample", type=Path)
    parser.add_argument("--backends", default="chain,llguidance,xgrammar,outlines")
    parser.add_argument("--tokenizer", type=Path, default=embedded_model_path(), help="folder of a tokenizer.json")
    parser.add_argument("--every", type=int, default=1, help="take one schema of so many")
    parser.add_argument("--seconds", type=float, default=30, help="that a compile may take")
    args = parser.parse_args()
    for backend in args.backends.split(","):
        process = multiprocessing.get_context("spawn").Process(
            target=one_backend, args=(backend, args.sample, args.tokenizer, args.every, args.seconds)
        )
        process.start()
        process.join()
        if process.exitcode:
            print(json.dumps({"bench": "maskbench", "backend": backend, "failed": process.exitcode}))


if __name__ == "__main__":
    main()
