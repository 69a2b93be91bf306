"""What rows without a grammar lose to others' grammars: time between tokens of 8 free rows while grammars come.

    python -m benchmarks.structured.beside [acorn | FOLDER] ... [--backend NAME] [--seconds S]

A real loop and a real model without a front. FOLDER holds a tokenizer.json; its model is small and random.
One JSON line per model and way, in the order in which they are measured:

- free: nobody else
- first: the first grammar since the start, after three seconds in which nobody was served
- usual: a new small schema whenever the last one is answered
- hostile: a new grammar of hostile.py whenever the last one is refused or answered, whose answer may have four tokens
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import msgspec
import numpy as np
from tokenizers import Tokenizer

from benchmarks.arena.models import FAMILIES, SHAPES
from benchmarks.engine_speed import Memory
from benchmarks.facts import report
from benchmarks.structured.hostile import hostile
from stemma.core.config.ask import ask_from
from stemma.core.config.machine import probe
from stemma.core.config.resolve import resolve
from stemma.core.types.control import Chunks, FromEngine
from stemma.core.types.grammar import Grammar
from stemma.core.types.output import Finish
from stemma.core.types.request import Abort, Request
from stemma.core.types.sampling import SamplingParams
from stemma.core.types.tokens import pack
from stemma.engine.build import build_loop

ROWS, OUTPUT = 8, 4
START_SECONDS = 3.0


class Finishes(Memory):
    """Remembers how requests ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: dict[str, Finish] = {}

    def send(self, front: int, message: FromEngine) -> bool:
        assert isinstance(message, Chunks)
        self.ended |= {chunk.id: chunk.finish for chunk in message.every() if chunk.finish is not None}
        return super().send(front, message)


def usual() -> Iterator[Grammar]:
    for at in count():
        schema = {"type": "object", "properties": {f"key_{at}": {"type": "integer"}}, "required": [f"key_{at}"]}
        yield Grammar("json_schema", json.dumps(schema))


class Batch:
    """One loop, and free rows in it that decode without end."""

    def __init__(self, options: dict[str, object]):
        fixed = {"max_running_requests": 2 * ROWS, "log_level": "error"}
        self._channel = Finishes()
        self._loop = build_loop(resolve(ask_from(fixed | options), probe()).engine, self._channel)[0]
        self._numbers = count()
        self.refused = self.answered = 0

    def ask(self, prompt: int, sampling: SamplingParams, grammar: Grammar | None = None) -> str:
        id = f"{next(self._numbers):032x}"
        tokens = pack([100 + prompt, *range(200, 212)])
        self._channel.asked.append(Request(id=id, tokens=tokens, sampling=sampling, grammar=grammar))
        return id

    def gaps(self, grammars: Iterator[Grammar], seconds: float) -> list[float]:
        """Between tokens of the free rows, for so many seconds of theirs."""
        long = SamplingParams(max_new_tokens=1000, ignore_eos=True, temperature=0)
        rows = [self.ask(row, long) for row in range(ROWS)]
        self.refused = self.answered = 0
        asked = ""
        found: list[float] = []
        last = began = 0.0
        while not began or last - began < seconds:
            if began and (not asked or asked in self._channel.ended) and (grammar := next(grammars, None)):
                if asked:
                    self.count(self._channel.ended[asked])
                asked = self.ask(50, SamplingParams(max_new_tokens=OUTPUT), grammar)
            rows = [self.ask(row, long) if id in self._channel.ended else id for row, id in enumerate(rows)]
            before = self._channel.tokens
            self._loop.turn()
            if self._channel.tokens - before >= ROWS:
                now = time.perf_counter()
                if began:
                    found.append(now - last)
                began, last = began or now, now
        self._channel.asked += [Abort(id=id) for id in (*rows, asked) if id]
        while self._channel.asked or self._loop.scheduler.has_work:
            self._loop.turn()
        return found

    def rest(self) -> None:
        """As a server that waits for its first request, or for its next."""
        self._loop.scheduler.prepare()
        time.sleep(START_SECONDS)

    def count(self, finish: Finish) -> None:
        """Some prove too costly only where a token is drawn: they end with an error of their own."""
        assert finish.reason != "error" or finish.code == 400, finish
        self.refused += finish.reason == "error"
        self.answered += finish.reason != "error"

    def close(self) -> None:
        self._loop.close()


def model_of(folder: Path, made: Path) -> Path:
    """A folder without weights, which are made up, for the tokenizer of another one."""
    tokenizer = (folder / "tokenizer.json").read_text()
    size = -(-Tokenizer.from_str(tokenizer).get_vocab_size() // 64) * 64
    small = {"hidden_size": 128, "num_hidden_layers": 2, "intermediate_size": 256, "vocab_size": size}
    fixed = {"torch_dtype": "bfloat16", "hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 1 << 15}
    ends = {"bos_token_id": None, "eos_token_id": 2}
    config = FAMILIES["M"] | msgspec.to_builtins(SHAPES["M"]) | fixed | small | ends
    (made / "config.json").write_text(json.dumps(config))
    (made / "tokenizer.json").write_text(tokenizer)
    return made


def measure(name: str, options: dict[str, object], seconds: float) -> None:
    batch = Batch(options)
    began = time.monotonic()
    free: list[float] = []
    while time.monotonic() - began < START_SECONDS:
        free = batch.gaps(iter(()), seconds)
    batch.rest()
    one = next(usual())
    ways = {"free": iter(()), "first": iter([one]), "usual": usual(), "hostile": hostile(0), "free again": iter(())}
    for way, grammars in ways.items():
        gaps = 1e3 * np.array(batch.gaps(grammars, seconds))
        if way == "free":
            free = gaps.tolist()
        report(
            "structured_beside",
            model=name,
            backend=options["grammar_backend"],
            way=way,
            rows=ROWS,
            tokens_share=round(float(np.mean(free) / gaps.mean()), 3),
            gap_ms={
                "p50": round(float(np.median(gaps)), 2),
                "p99": round(float(np.percentile(gaps, 99)), 2),
                "most": [round(each, 1) for each in sorted(gaps.tolist())[-3:]],
            },
            refused=batch.refused,
            answered=batch.answered,
        )
    batch.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="time between tokens of free rows while grammars come")
    parser.add_argument("models", nargs="*", default=["acorn"])
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each way")
    args = parser.parse_args()
    for name in args.models:
        options: dict[str, object] = {"grammar_backend": args.backend}
        if name == "acorn":
            measure(name, options, args.seconds)
        else:
            with tempfile.TemporaryDirectory() as folder:
                options |= {"model_path": str(model_of(Path(name), Path(folder))), "load_format": "dummy"}
                measure(Path(name).name, options, args.seconds)


if __name__ == "__main__":
    main()
