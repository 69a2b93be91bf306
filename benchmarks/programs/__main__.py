"""Programs with and without sharing: how many a second, and how much of the findable is found.

    python -m benchmarks.programs [WORKLOAD ...] [--runs N] [--peer NAME ...] [--model FOLDER] [--programs N]

Three ways to run each workload, one after another, each from an empty cache and over HTTP:

- shared: `RuntimeEndpoint` on a Stemma server
- unshared: the same requests to a Stemma server without a radix cache
- openai: the same programs through the official client of OpenAI's API, to the server without a radix cache

A peer is another engine, started by its recipe of the arena, or a server that runs (NAME=URL): the same programs
through the official client, once, with whatever cache it has. Prints one JSON line for each workload; see README.md.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import openai

import stemma as sgl
from benchmarks.arena.lineup import Contender, contender
from benchmarks.arena.recipe import started
from benchmarks.facts import report
from benchmarks.programs.optimum import findable
from benchmarks.programs.recording import recording
from benchmarks.programs.workloads import WORKLOADS, Workload
from stemma.core.config.embedded import embedded_model_path
from stemma.core.config.env import cache_folder
from stemma.front.lang.backends.backend import BaseBackend
from stemma.front.lang.backends.http import HttpDoor
from stemma.front.lang.errors import ProgramError

KEY, THREADS = "programs", 32
Texts = list[str]
Made = Sequence[tuple[str, Workload]]
Found = dict[str, dict[str, Any]]  # of each workload


@contextmanager
def served(**options: Any) -> Iterator[sgl.Runtime]:
    server = sgl.Runtime(api_key=KEY, **options)
    try:
        yield server
    finally:
        server.shutdown()


@contextmanager
def peer(asked: Contender, model: Path) -> Iterator[BaseBackend]:
    """Started for this model, unless it runs already; ended afterwards."""
    engine = started(asked, cache_folder() / "peers", model)
    try:
        place: dict[str, Any] = {"base_url": f"{engine.url}/v1", "api_key": "none", "max_retries": 0}
        name = openai.OpenAI(**place).models.list().data[0].id
        yield sgl.OpenAI(name, is_chat_model=False, **place)
    finally:
        engine.end()


def run_all(workload: Workload, backend: BaseBackend) -> tuple[float, Texts]:
    """Seconds, and all that was read and said."""
    began = time.perf_counter()
    states = workload.program.run_batch(workload.arguments, backend=backend, num_threads=THREADS, temperature=0.0)
    seconds = time.perf_counter() - began
    for state in states:
        if (error := state.error()) is not None:
            raise state.stream_executor.failure() from error
    return seconds, [state.text() for state in states]


def timed(workload: Workload, backend: BaseBackend, flush: Callable[[], object], runs: int) -> tuple[float, Texts]:
    """Programs per second, and the texts. One program runs before, and is not counted: it opens connections."""
    run_all(replace(workload, arguments=workload.arguments[:1]), backend)
    seconds = []
    for _ in range(runs):
        flush()
        took, texts = run_all(workload, backend)
        seconds.append(took)
    return len(workload.arguments) / median(seconds), texts


def hits(workload: Workload, server: sgl.Runtime) -> dict[str, Any]:
    """What was found in the cache, told by the engine; and what could have been."""
    backend, recorder = recording(HttpDoor(server.url, KEY, None))

    def computed() -> int:
        info: Any = backend.get_server_info()
        return int(info["internal_states"][0]["computed_tokens"])

    backend.flush_cache()
    before = computed()
    run_all(workload, backend)
    asked = recorder.answered
    prompts, cached, best = sum(len(each.prompt) for each in asked), sum(each.cached for each in asked), findable(asked)
    return {
        "requests": len(asked),
        "prompt_tokens": prompts,
        "output_tokens": sum(len(each.output) for each in asked),
        "computed_tokens": computed() - before,
        "hit_rate": round(cached / prompts, 4),
        "optimum": round(best / prompts, 4),
        "of_optimum": round(cached / best, 4),
    }


def measure_ours(made: Made, runs: int, options: dict[str, Any], has_openai: bool) -> Found:
    """Of no runs, what was found and computed alone."""
    found: Found = {name: {} for name, _ in made}
    said: dict[str, Texts] = {}
    with served(**options) as server:
        for name, workload in made:
            found[name] = hits(workload, server)
            if not runs:
                continue
            rate, said[name] = timed(workload, server.endpoint, server.endpoint.flush_cache, runs)
            found[name]["shared"] = round(rate, 2)
    if not runs:
        return found
    with served(**options, disable_radix_cache=True) as server:
        ways: dict[str, BaseBackend] = {"unshared": server.endpoint}
        if has_openai:
            ways["openai"] = sgl.OpenAI("default", is_chat_model=False, base_url=f"{server.url}/v1", api_key=KEY)
        for name, workload in made:
            for way, backend in ways.items():
                rate, texts = timed(workload, backend, lambda: None, runs)
                same = sum(one == other for one, other in zip(texts, said[name], strict=True))
                found[name] |= {way: round(rate, 2), f"same_as_{way}": same}
    return found


def measure_peer(asked: Contender, made: Made, model: Path, found: Found) -> None:
    """Once: its cache cannot be emptied between two runs. Of what it cannot do, why."""
    with peer(asked, model) as backend:
        for name, workload in made:
            try:
                found[name][asked.name] = round(timed(workload, backend, lambda: None, 1)[0], 2)
            except ProgramError as error:
                found[name][asked.name] = str(error)[:200]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.programs")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(WORKLOADS))
    parser.add_argument("--runs", type=int, default=3, help="of which the median counts; 0: tokens alone are counted")
    parser.add_argument("--page-size", type=int, default=16)
    parser.add_argument("--peer", type=contender, action="append", default=[], metavar="NAME[=URL]")
    parser.add_argument("--model", type=Path, default=embedded_model_path(), metavar="FOLDER", help="acorn if left out")
    parser.add_argument("--programs", type=int, metavar="N", help="of each workload at most")
    parser.add_argument("--no-openai", action="store_true", help="without the programs through OpenAI's client")
    given = parser.parse_args()
    drawn = [(name, WORKLOADS[name](Random(name))) for name in given.workloads or WORKLOADS]
    made = [(name, replace(each, arguments=each.arguments[: given.programs])) for name, each in drawn]
    options = {"page_size": given.page_size, "model_path": str(given.model)}
    found = measure_ours(made, given.runs, options, not given.no_openai)
    for asked in given.peer:
        measure_peer(asked, made, given.model, found)
    ways = ("unshared", "openai", *(asked.name for asked in given.peer))
    about = {"model": given.model.name, "runs": given.runs, "page_size": given.page_size, "threads": THREADS}
    for name, workload in made:
        rates = {way: rate for way in ways if isinstance(rate := found[name].get(way), float)}
        ratios = {f"over_{way}": round(found[name]["shared"] / rate, 2) for way, rate in rates.items() if given.runs}
        told = {"workload": name, "is_shared": workload.shared, "programs": len(workload.arguments)}
        report("programs", **told, **found[name], **ratios, **about)


if __name__ == "__main__":
    main()
