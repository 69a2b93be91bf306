"""`stemma bench`: how fast a server is."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from stemma.bench.door import DOORS, meet
from stemma.bench.facts import facts
from stemma.bench.load import Load, Tick, put
from stemma.bench.report import page, record, report_of
from stemma.bench.timeline import Timeline
from stemma.bench.workload import ONE, WORKLOADS, Workload, span_of
from stemma.cli.child import serving
from stemma.core.base.errors import ConfigError, StemmaError
from stemma.core.config.env import api_key
from stemma.core.config.field import Value
from stemma.core.config.flags import Parser, add_options, given

STARTUP = "startup"
PICTURES = (".svg", ".png")
RUNS = 3  # of a start, if nobody says otherwise
INTERRUPTED = 130
WHAT = f"""\
Measure a server: one of our own for MODEL, or the one at --url. WORKLOAD is one of
  latency      one request of 512 tokens in and 128 out
  throughput   32 requests at once, 64-512 tokens in and 32-128 out
  serve        the same over the OpenAI API
  prefix       32 requests that share 1024 tokens
  {STARTUP}      from the command to the first token"""

T = TypeVar("T")
Wish = Mapping[str, Any]  # what stands on the command line beside the options of a server, and nothing else


def bench(argv: Sequence[str]) -> int:
    """Measure, print, write. Exit status 130: interrupted, and what was measured until then is printed."""
    found = _parser().parse(argv)
    options, wish = given(found), vars(found)
    url, plot = wish.get("url"), wish.get("plot")
    for name in ("output", "plot"):  # before minutes are spent
        if (path := wish.get(name)) and not Path(path).absolute().parent.is_dir():
            raise ConfigError(f"--{name} {path}: there is no folder {Path(path).parent}; make it, or name another")
    if plot and not plot.endswith(PICTURES):
        raise ConfigError(f"--plot {plot}: name a file that ends in {' or '.join(PICTURES)}")
    if plot and find_spec("matplotlib") is None:
        raise ConfigError("--plot needs matplotlib: pip install 'stemma-llm[plot]'")
    if url and options:
        raise ConfigError(f"{', '.join(options)}: the server at --url has a model and options of its own")
    if found.workload == STARTUP:
        if url:
            raise ConfigError(f"--url: {STARTUP} measures a server that it starts itself")
        return _startup(options, wish)
    load = load_of(found.workload, wish)
    with ExitStack() as stack:
        url, key = (url, api_key()) if url else stack.enter_context(serving(options))
        return _measure(url, key, load, wish)


def _parser() -> Parser:
    parser = Parser("stemma bench", "stemma bench WORKLOAD [MODEL] [options]", WHAT)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("workload", choices=[*WORKLOADS, STARTUP], metavar="WORKLOAD", help="what to measure")
    parser.add_argument("model", nargs="?", metavar="MODEL", help="folder of the model; acorn if left out")
    asked = parser.add_argument_group("what is asked, and of whom")
    asked.add_argument("--url", metavar="URL", help="measure this server instead; STEMMA_API_KEY is its key")
    asked.add_argument("--door", choices=DOORS, help="/generate or /v1/completions (default: the first that is there)")
    count, span = _reads(count_of), _reads(span_of)
    asked.add_argument("--requests", type=count, metavar="N", help=f"so many; of {STARTUP}: runs (default {RUNS})")
    asked.add_argument("--input-tokens", type=span, metavar="N[-M]", help="length of a prompt, beside what is shared")
    asked.add_argument("--output-tokens", type=span, metavar="N[-M]", help="length of an answer")
    asked.add_argument("--shared-tokens", type=count, metavar="N", help="tokens that all prompts begin with")
    asked.add_argument("--request-rate", type=_reads(rate_of), metavar="X", help="per second, Poisson (default inf)")
    asked.add_argument("--max-concurrency", type=count, metavar="N", help="most requests under way at once")
    asked.add_argument("--seed", type=int, metavar="N", help="of prompts and arrivals (default 200)")
    asked.add_argument("--token-ids", type=span, metavar="N-M", help="ids to draw from (default 300-7999)")
    told = parser.add_argument_group("what is told")
    told.add_argument("--output", metavar="FILE", help="append one JSON line")
    told.add_argument("--details", action="store_true", help="every request in that line, too")
    told.add_argument("--plot", metavar="FILE", help="draw how latencies are distributed, as .svg or .png")
    told.add_argument("--tag", metavar="TEXT", help="what to call the run in its JSON line")
    add_options(parser, without=("server",))
    return parser


def load_of(name: str, wish: Wish) -> Load:
    """The workload of this name, with what was wished otherwise."""
    fields = {key: wish[key] for key in Workload.__struct_fields__ if key in wish}
    manner = {key: wish[key] for key in Load.__struct_fields__ if key in wish and key != "workload"}
    # Alone means one after the other, however many are asked for.
    alone = {"max_concurrency": 1} if name == "latency" else {}
    return Load(workload=msgspec.structs.replace(WORKLOADS[name], **fields), **(alone | manner))


def _measure(url: str, key: str | None, load: Load, wish: Wish) -> int:
    status, timelines = 0, list[Timeline]()
    server = asyncio.run(meet(url, key, wish.get("door", "openai" if wish["workload"] == "serve" else None)))
    try:
        with _progress(load.workload.requests) as tick:
            asyncio.run(put(server, load, timelines, tick))
    except KeyboardInterrupt:
        status = INTERRUPTED
    report = report_of(server.door.name, load, timelines, server.settings, wish.get("tag"))
    if report.numbers.completed:
        print(page(report))
        if path := wish.get("output"):
            _append(path, record(report, "details" in wish))
        if path := wish.get("plot"):
            from stemma.bench.plot import draw_report

            draw_report(report, Path(path))
    if failed := [each.error for each in timelines if each.error]:
        raise StemmaError(f"{len(failed)} of {len(timelines)} requests failed: {failed[0]}")
    return status


def _startup(options: Mapping[str, Value], wish: Wish) -> int:
    seconds = [first_token_seconds(options) for _ in range(wish.get("requests", RUNS))]
    print(f"first token after {median(seconds):.3f} s (of {len(seconds)}: {min(seconds):.3f} to {max(seconds):.3f})")
    if path := wish.get("output"):
        _append(path, {"bench": STARTUP, "tag": wish.get("tag"), "first_token_seconds": seconds, **facts()})
    return 0


def first_token_seconds(options: Mapping[str, Value]) -> float:
    """From `stemma serve` to the first token of its first answer."""
    began, timelines = time.perf_counter(), list[Timeline]()
    with serving(options) as (url, key):
        server = asyncio.run(meet(url, key))
        asyncio.run(put(server, Load(workload=ONE, warmups=0), timelines, lambda timeline: None))
    if timelines[0].error:
        raise StemmaError(timelines[0].error)
    return timelines[0].ended - began


def _append(path: str, line: Mapping[str, object]) -> None:
    with Path(path).open("a") as file:
        file.write(json.dumps(line) + "\n")


@contextmanager
def _progress(requests: int) -> Iterator[Tick]:
    """A bar on the terminal, drawn seldom: the processor is wanted elsewhere."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    is_seen = sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=2, disable=not is_seen) as bar:
        task = bar.add_task("", total=requests)
        yield lambda timeline: bar.advance(task)


def count_of(text: str) -> int:
    if (count := int(text)) < 1:
        raise ValueError(f"{text} is out of range; at least 1")
    return count


def rate_of(text: str) -> float:
    if not (rate := float(text)) > 0:
        raise ValueError(f"{text} is out of range; more than 0, or inf")
    return rate


def _reads(read: Callable[[str], T]) -> Callable[[str], T]:
    """For argparse, which keeps what a ValueError says to itself."""

    def checked(text: str) -> T:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked
