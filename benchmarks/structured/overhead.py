"""What grammars cost a step: the time between tokens of 32 rows, free and under grammars.

    python -m benchmarks.structured.overhead [acorn | M | FOLDER] ...

A real loop and a real model without a front, all ways in turn, round by round; each counts with the median of its
steps, and `rounds_percent` tells what each round alone would have said. Forced text is drawn, too. M has the shape of
Qwen3-0.6B and random weights, with a vocabulary of 151,936 tokens. One JSON line per model and way:

- counted: a string whose every letter is a state of its own
- records: objects
- one: 31 free rows beside one that answers in objects
"""

import json
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.arena.models import FAMILIES, SHAPES, tokenizer
from benchmarks.engine_speed import Memory
from benchmarks.facts import report
from stemma.core.config.ask import ask_from
from stemma.core.config.machine import probe
from stemma.core.config.resolve import resolve
from stemma.core.types.grammar import Grammar
from stemma.core.types.request import Abort, Request
from stemma.core.types.sampling import SamplingParams
from stemma.core.types.tokens import pack
from stemma.engine.build import build_loop
from stemma.engine.loop import EngineLoop

ROWS, ROUNDS, STEPS = 32, 5, 16
RECORD = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "is_member": {"type": "boolean"}},
    "required": ["name", "age", "is_member"],
    "additionalProperties": False,
}
COUNTED = Grammar("json_schema", json.dumps({"type": "string", "minLength": 2000}))
RECORDS = Grammar("json_schema", json.dumps({"type": "array", "minItems": 200, "items": RECORD}))
WAYS: dict[str, list[Grammar | None]] = {
    "free": [None] * ROWS,
    "counted": [COUNTED] * ROWS,
    "records": [RECORDS] * ROWS,
    "one": [*[None] * (ROWS - 1), RECORDS],
}


def shape_of_m(folder: Path) -> Path:
    """A folder without weights: they are made up."""
    shape = SHAPES["M"]
    fixed = {"torch_dtype": "bfloat16", "hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 4096}
    config = FAMILIES["M"] | msgspec.to_builtins(shape) | fixed | {"bos_token_id": None, "eos_token_id": 2}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer(shape.vocab_size).save(str(folder / "tokenizer.json"))
    return folder


class Batch:
    """One loop, and 32 rows in it at a time."""

    def __init__(self, options: dict[str, object]):
        fixed = {"max_running_requests": ROWS, "disable_jump_forward": True, "log_level": "error"}
        self._channel = Memory()
        self._loop: EngineLoop = build_loop(resolve(ask_from({**fixed, **options}), probe()).engine, self._channel)[0]

    def step_seconds(self, grammars: list[Grammar | None]) -> list[float]:
        """Of steps in which every row draws one token."""
        for row, grammar in enumerate(grammars):
            prompt = pack([100 + row, *range(200, 212)])
            sampling = SamplingParams(max_new_tokens=128, ignore_eos=grammar is None, temperature=0)  # these never end
            self._channel.asked.append(Request(id=f"{row:032x}", tokens=prompt, sampling=sampling, grammar=grammar))
        found: list[float] = []
        while len(found) < STEPS:
            before, began = self._channel.tokens, time.perf_counter()
            self._loop.turn()
            if self._channel.tokens - before == ROWS:
                found.append(time.perf_counter() - began)
        self._channel.asked += [Abort(id=f"{row:032x}") for row in range(ROWS)]
        while self._channel.asked or self._loop.scheduler.has_work:
            self._loop.turn()
        return found

    def close(self) -> None:
        self._loop.close()


def measure(name: str, options: dict[str, object]) -> None:
    batch = Batch(options)
    rounds: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for at in range(-1, ROUNDS):
        for way, grammars in WAYS.items():
            found = batch.step_seconds(grammars)
            if at >= 0:  # before that: compiles
                rounds[way].append(found)
    batch.close()
    free = median(chain.from_iterable(rounds["free"]))
    for way, each in rounds.items():
        bound = median(chain.from_iterable(each))
        pairs = zip(each, rounds["free"], strict=True)
        report(
            "structured_overhead",
            model=name,
            way=way,
            rows=ROWS,
            step_ms=round(1e3 * bound, 3),
            overhead_percent=round(100 * (bound / free - 1), 2),
            overhead_us_per_row=round(1e6 * (bound - free) / ROWS, 1),
            rounds_percent=[round(100 * (median(one) / median(other) - 1), 1) for one, other in pairs],
        )


def main() -> None:
    for name in sys.argv[1:] or ["acorn", "M"]:
        if name == "acorn":
            measure(name, {})
        elif name == "M":
            with tempfile.TemporaryDirectory() as folder:
                measure(name, {"model_path": str(shape_of_m(Path(folder))), "load_format": "dummy"})
        else:
            measure(Path(name).name, {"model_path": name})


if __name__ == "__main__":
    main()
