"""Programs with and without sharing: how many a second, and how much of the findable is found.

    python -m benchmarks.programs [WORKLOAD ...] [--runs N] [--page-size N] [--peer NAME=MODEL@URL ...]

Three ways to run each workload, one after another, each from an empty cache and over HTTP:

- shared: `RuntimeEndpoint` on a Stemma server
- unshared: the same requests to a Stemma server without a radix cache
- openai: the same programs through the official client of OpenAI's API, to the server without a radix cache

A peer is another server with OpenAI's completions. Prints one JSON line for each workload; see README.md.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from statistics import median
from typing import Any

import stemma as sgl
from benchmarks.facts import report
from benchmarks.programs.optimum import findable
from benchmarks.programs.recording import recording
from benchmarks.programs.workloads import WORKLOADS, Workload
from stemma.front.lang.backends.backend import BaseBackend
from stemma.front.lang.backends.http import HttpDoor
from stemma.front.lang.errors import ProgramError

KEY, THREADS = "programs", 32
Texts = list[str]


@contextmanager
def served(**options: Any) -> Iterator[sgl.Runtime]:
    server = sgl.Runtime(api_key=KEY, **options)
    try:
        yield server
    finally:
        server.shutdown()


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


def measure(made: Sequence[tuple[str, Workload]], runs: int, peers: dict[str, BaseBackend], page_size: int) -> None:
    found: dict[str, dict[str, Any]] = {name: {} for name, _ in made}
    said: dict[str, Texts] = {}
    with served(page_size=page_size) as server:
        for name, workload in made:
            found[name] = hits(workload, server)
            if not runs:
                continue
            rate, said[name] = timed(workload, server.endpoint, server.endpoint.flush_cache, runs)
            found[name]["shared"] = round(rate, 2)
    if runs:
        beside(made, found, said, runs, peers, page_size)
    for name, workload in made:
        ratios = {
            f"over_{way}": round(found[name]["shared"] / other, 2)
            for way in ("unshared", "openai", *peers)
            if isinstance(other := found[name].get(way), float)
        }
        told = {"workload": name, "is_shared": workload.shared, "programs": len(workload.arguments)}
        report("programs", **told, **found[name], **ratios, runs=runs, page_size=page_size, threads=THREADS)


def beside(
    made: Sequence[tuple[str, Workload]],
    found: dict[str, dict[str, Any]],
    said: dict[str, Texts],
    runs: int,
    peers: dict[str, BaseBackend],
    page_size: int,
) -> None:
    """The same without sharing, and elsewhere."""
    with served(page_size=page_size, disable_radix_cache=True) as server:
        openai = sgl.OpenAI("default", is_chat_model=False, base_url=f"{server.url}/v1", api_key=KEY)
        for name, workload in made:
            ways: dict[str, BaseBackend] = {"unshared": server.endpoint, "openai": openai}
            for way, backend in ways.items():
                rate, texts = timed(workload, backend, lambda: None, runs)
                same = sum(one == other for one, other in zip(texts, said[name], strict=True))
                found[name] |= {way: round(rate, 2), f"same_as_{way}": same}
    for peer, backend in peers.items():
        for name, workload in made:
            try:
                found[name][peer] = round(timed(workload, backend, lambda: None, runs)[0], 2)
            except ProgramError as error:
                found[name][peer] = str(error)[:200]


def peer(given: str) -> tuple[str, BaseBackend]:
    name, _, place = given.partition("=")
    model, _, url = place.partition("@")
    return name, sgl.OpenAI(model, is_chat_model=False, base_url=f"{url.rstrip('/')}/v1", api_key="none")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.programs")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(WORKLOADS))
    parser.add_argument("--runs", type=int, default=3, help="of which the median counts; 0: tokens alone are counted")
    parser.add_argument("--page-size", type=int, default=16)
    parser.add_argument("--peer", type=peer, action="append", default=[], metavar="NAME=MODEL@URL")
    given = parser.parse_args()
    made = [(name, WORKLOADS[name](Random(name))) for name in given.workloads or WORKLOADS]
    measure(made, given.runs, dict(given.peer), given.page_size)


if __name__ == "__main__":
    main()
