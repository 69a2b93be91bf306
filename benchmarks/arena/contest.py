"""Engines take turns at the same loads."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from stemma.bench.door import Server
from stemma.bench.load import Load, put
from stemma.bench.report import Report, record, report_of
from stemma.bench.timeline import Timeline

TICKS = 100  # per second, in /proc/stat


class Engine(Struct, frozen=True, kw_only=True):
    """A server that takes part."""

    name: str
    server: Server
    ready_seconds: float | None = None  # from its start; None: it ran already


class Outcome(Struct, frozen=True, kw_only=True):
    """One engine, one workload, one repetition."""

    engine: Engine
    workload: str
    repetition: int
    report: Report
    disturbance: float  # processors that others took meanwhile: niced work, and what the host stole

    @property
    def is_valid(self) -> bool:
        """Whether every answer came, as long as it was asked for: else rates mean nothing."""
        numbers = self.report.numbers
        return numbers.completed > 0 and not numbers.failed and not numbers.other_length

    def record(self) -> dict[str, object]:
        return {
            "bench": "arena",
            "engine": self.engine.name,
            "workload": self.workload,
            "repetition": self.repetition,
            "is_valid": self.is_valid,
            "error": next((each.error for each in self.report.timelines if each.error), None),
            "disturbance": round(self.disturbance, 3),
            "ready_seconds": self.engine.ready_seconds,
            **record(self.report),
        }


def play(engines: Sequence[Engine], workload: str, loads: Sequence[Load]) -> Iterator[Outcome]:
    for repetition, load in enumerate(loads):
        for engine in engines:
            timelines: list[Timeline] = []
            before = taken_seconds()
            asyncio.run(put(engine.server, load, timelines, lambda timeline: None))
            taken = taken_seconds() - before
            report = report_of(engine.server.door.name, load, timelines)
            yield Outcome(
                engine=engine,
                workload=workload,
                repetition=repetition,
                report=report,
                disturbance=report.numbers.per_second(1) * taken,
            )


def taken_seconds() -> float:
    """Processor time since the start of the machine that went to niced work, or to other machines."""
    words = Path("/proc/stat").read_text().split()
    return (int(words[2]) + int(words[8])) / TICKS
