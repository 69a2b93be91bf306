"""What is written of a contest: a line for the machine's limits, for each start, for each workload played."""

import asyncio
import time

from msgspec import Struct

from benchmarks.arena.limits import Floor, Limits
from benchmarks.arena.recipe import Engine
from stemma.bench.door import Server
from stemma.bench.load import Load, put
from stemma.bench.report import record, report_of
from stemma.bench.timeline import Timeline


class Start(Struct, frozen=True, kw_only=True, tag="arena_start", tag_field="bench"):
    """An engine was started, or could not be."""

    model: str
    engine: str
    weights: str
    round: int
    ready_seconds: float | None = None  # from the command to the first token; None: it ran already
    resident_bytes: int | None = None  # with its first answer given; what processes share counts once
    is_compared: bool = False  # its texts with those of the first engine, as its weights are the same
    parting: str | None = None  # where they part by more than rounding explains
    error: str | None = None


class Result(Struct, frozen=True, kw_only=True, tag="arena", tag_field="bench"):
    """One engine, one workload, once. What is not said here has the name that `stemma bench` gives it."""

    model: str
    engine: str
    weights: str
    workload: str
    round: int
    is_valid: bool  # every answer came, as long as it was asked for: else rates mean nothing
    error: str | None
    disturbance: float | None  # processors that others took meanwhile; None: it is not known what the engine took
    floor: Floor | None  # of this run's prompts, by this run's limits
    duration: float
    output_throughput: float
    total_input_tokens: int
    total_output_tokens: int
    median_ttft_ms: float
    p99_ttft_ms: float
    median_tpot_ms: float
    median_itl_ms: float
    p99_itl_ms: float
    max_itl_ms: float


Line = Limits | Start | Result


def played(engine: Engine, server: Server, load: Load) -> dict[str, object]:
    """Put a load to a server; what was measured, by the names of a Result and many more."""
    timelines: list[Timeline] = []
    began, before = time.monotonic(), engine.others_seconds()
    asyncio.run(put(server, load, timelines, lambda timeline: None))
    after, seconds = engine.others_seconds(), time.monotonic() - began
    report = report_of(server.door.name, load, timelines)
    numbers = report.numbers
    return record(report) | {
        "is_valid": numbers.completed > 0 and not numbers.failed and not numbers.other_length,
        "error": next((each.error for each in timelines if each.error), None),
        "disturbance": None if before is None or after is None else round((after - before) / seconds, 3),
    }
