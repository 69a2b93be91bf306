"""Engines take turns: one is started, says what it says to the probes, plays, and ends."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from benchmarks.arena.limits import Floor, Limits, floor
from benchmarks.arena.lines import Line, played
from benchmarks.arena.lineup import Contender
from benchmarks.arena.models import shape_of
from benchmarks.arena.recipe import Engine, started
from benchmarks.arena.same import Said, difference, probed
from stemma.bench.door import Server, meet
from stemma.bench.facts import facts
from stemma.bench.load import Load
from stemma.bench.workload import WORKLOADS, Span, Workload, usable_ids
from stemma.core.base.errors import StemmaError
from stemma.core.config.env import api_key

PLAYED = ("latency", "serve", "prefix")  # over HTTP, `throughput` is `serve`
SEED_STEP = 1000  # between workloads, so that no prompt comes twice and no cache of prefixes helps


class Rules(Struct, frozen=True, kw_only=True):
    """How much, how long, how strict."""

    workloads: Sequence[str] = PLAYED
    rounds: int = 3
    minutes: float = float("inf")
    margin: float = 0.3  # log-probabilities this close are a tie
    quick: bool = False

    def load(self, name: str, ids: range, round_: int, is_first: bool) -> Load:
        """Other prompts in each round; a warm-up before the first workload of a turn."""
        seed = SEED_STEP * (1 + PLAYED.index(name)) + round_
        workload = few(WORKLOADS[name]) if self.quick else WORKLOADS[name]
        return Load(workload=workload, seed=seed, warmups=int(is_first), token_ids=Span(ids.start, ids.stop - 1))


def few(workload: Workload) -> Workload:
    """Of the same kind, and done at once."""
    shared, requests = min(32, workload.shared_tokens), min(4, workload.requests)
    return replace(
        workload, requests=requests, input_tokens=Span(16, 32), output_tokens=Span(4, 8), shared_tokens=shared
    )


@dataclass(slots=True)
class Contest:
    """What goes on, and what came of it. The first of the contenders judges the texts of those who should agree."""

    contenders: Sequence[Contender]
    peers: Path
    rules: Rules
    output: Path | None = None
    limits: Limits | None = None  # of the machine, all its processors together
    began: float = field(default_factory=time.monotonic)
    lines: list[Line] = field(default_factory=list)
    waiting: dict[tuple[str, str], Engine] = field(default_factory=dict)  # stopped, until their next turn
    judged: dict[str, list[Said]] = field(default_factory=dict)  # by model, what the judge said
    took: dict[tuple[str, str], float] = field(default_factory=dict)  # seconds of the last turn

    def write(self, fields: Mapping[str, object]) -> None:
        """Keep a line, print it, and append it to the output."""
        fields = {**fields, **facts()}
        self.lines.append(msgspec.convert(fields, Line))
        text = json.dumps(fields)
        print(text, flush=True)
        if self.output is not None:
            with self.output.open("a") as file:
                file.write(text + "\n")

    def play(self, models: Sequence[Path]) -> None:
        try:
            for round_ in range(self.rules.rounds):
                for model in models:
                    for one in self.contenders:
                        self.turn(one, model, round_)
        finally:
            for engine in self.waiting.values():
                engine.end()

    def turn(self, one: Contender, model: Path, round_: int) -> None:
        """An engine that fails is written down, and the next one plays."""
        began, key = time.monotonic(), (one.name, model.name)
        names = one.plays(self.rules.workloads, round_)
        if began - self.began + self.took.get(key, 0.0) > 60 * self.rules.minutes:
            print(f"there is no time for {one.name}, {model.name}, round {round_}", file=sys.stderr)
        elif names:
            who = {"model": model.name, "engine": one.name, "weights": one.weights, "round": round_}
            try:
                with self.on_stage(one, model) as engine:
                    self.scene(one, model, engine, names, who)
            except StemmaError as error:
                self.write({"bench": "arena_start", **who, "error": error.message})
            self.took[key] = time.monotonic() - began

    @contextmanager
    def on_stage(self, one: Contender, model: Path) -> Iterator[Engine]:
        """An engine that answers, and for itself."""
        key = (one.name, model.name)
        if engine := self.waiting.pop(key, None):
            engine.signal(signal.SIGCONT)
        else:
            engine = started(one, self.peers, model)
        try:
            yield engine
        finally:
            if one.starts_slowly:
                engine.signal(signal.SIGSTOP)
                self.waiting[key] = engine
            else:
                engine.end()

    def scene(
        self, one: Contender, model: Path, engine: Engine, names: Sequence[str], who: Mapping[str, object]
    ) -> None:
        server = asyncio.run(meet(engine.url, api_key(), "openai"))
        ids = usable_ids(None, json.loads((model / "config.json").read_text())["vocab_size"])
        seen = {"ready_seconds": engine.ready_seconds, "resident_bytes": engine.resident_bytes()}
        judged = {"is_compared": one.is_exact, "parting": self.parting(one, model.name, server, ids)}
        self.write({"bench": "arena_start", **who, **seen, **judged})
        for name in names:
            load = self.rules.load(name, ids, int(str(who["round"])), is_first=name == names[0])
            least = self.floor(one, model, load, ids)
            known = {"workload": name, "floor": msgspec.to_builtins(least)}
            self.write({"bench": "arena", **who, **known, **played(engine, server, load)})

    def parting(self, one: Contender, model: str, server: Server, ids: range) -> str | None:
        """Where an engine parts from the judge, who speaks first. Asked in its first turn."""
        if not one.is_exact or (one.name, model) in self.took:
            return None
        is_judge = one is self.contenders[0]
        said = asyncio.run(probed(server, ids, is_judge))
        judged = self.judged.setdefault(model, said) if is_judge else self.judged.get(model)
        return difference(judged, said, self.rules.margin) if judged else "the judge said nothing"

    def floor(self, one: Contender, model: Path, load: Load, ids: range) -> Floor | None:
        shape = shape_of(model)
        if shape is None or self.limits is None:
            return None
        prompts = load.workload.prompts(load.seed, ids)
        return floor(shape, one.weights, prompts, load.workload.shared_tokens, self.limits)
