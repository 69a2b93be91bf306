"""What a run came to, for people and for programs. Labels and keys are those of SGLang's serving benchmark."""

from collections.abc import Iterator, Sequence

from msgspec import Struct, structs

from stemma.bench.facts import facts
from stemma.bench.load import Load
from stemma.bench.numbers import Numbers, numbers_of
from stemma.bench.timeline import Timeline

LABEL, WIDTH = 40, 50
BLOCKS = {
    "e2e_latency": "End-to-End Latency",
    "ttft": "Time to First Token",
    "tpot": "Time per Output Token (excl. 1st token)",
    "itl": "Inter-Token Latency",
}
NAMES = {"e2e_latency": "E2E Latency"} | {name: name.upper() for name in ("ttft", "tpot", "itl")}
ROWS = {"mean": "Mean", "median": "Median", "p90": "P90", "p95": "P95", "p99": "P99", "max": "Max"}


class Report(Struct, frozen=True, kw_only=True):
    """A run and its numbers."""

    door: str
    load: Load
    numbers: Numbers
    timelines: Sequence[Timeline]
    server: object = None  # what it says of itself
    tag: str | None = None

    @property
    def rates(self) -> dict[str, float]:
        """Per second, by the names of the record."""
        numbers = self.numbers
        return {
            "request_throughput": numbers.per_second(numbers.completed),
            "input_throughput": numbers.per_second(numbers.input_tokens),
            "output_throughput": numbers.per_second(numbers.output_tokens),
            "total_throughput": numbers.per_second(numbers.input_tokens + numbers.output_tokens),
        }


def report_of(
    door: str, load: Load, timelines: Sequence[Timeline], server: object = None, tag: str | None = None
) -> Report:
    numbers = numbers_of(timelines)
    return Report(door=door, load=load, numbers=numbers, timelines=timelines, server=server, tag=tag)


def page(report: Report) -> str:
    """The table of the console."""
    lines = [" Serving Benchmark Result ".center(WIDTH, "=")]
    lines += [f"{label + ':':<{LABEL}} {value}" for label, value in _rows(report)]
    for name, title in BLOCKS.items():
        lines.append(title.center(WIDTH, "-"))
        spread = structs.asdict(report.numbers.spreads[name])
        lines += [f"{f'{word} {NAMES[name]} (ms):':<{LABEL}} {spread[key]:.2f}" for key, word in ROWS.items()]
    return "\n".join([*lines, "=" * WIDTH])


def _rows(report: Report) -> Iterator[tuple[str, object]]:
    load, numbers, rates = report.load, report.numbers, report.rates
    yield "Backend", report.door
    yield "Traffic request rate", load.request_rate
    yield "Max request concurrency", load.max_concurrency or "not set"
    yield "Successful requests", numbers.completed
    if numbers.failed:
        yield "Failed requests", numbers.failed
    if numbers.other_length:
        yield "Answers of another length than asked", numbers.other_length
    yield "Benchmark duration (s)", f"{numbers.duration:.2f}"
    yield "Total input tokens", numbers.input_tokens
    if numbers.cached_tokens:
        yield "Total cached input tokens", numbers.cached_tokens
    yield "Total generated tokens", numbers.output_tokens
    yield "Request throughput (req/s)", f"{rates['request_throughput']:.2f}"
    yield "Input token throughput (tok/s)", f"{rates['input_throughput']:.2f}"
    yield "Output token throughput (tok/s)", f"{rates['output_throughput']:.2f}"
    yield "Peak output token throughput (tok/s)", numbers.peak_tokens
    yield "Peak concurrent requests", numbers.peak_requests
    yield "Total token throughput (tok/s)", f"{rates['total_throughput']:.2f}"
    yield "Concurrency", f"{numbers.concurrency:.2f}"


def record(report: Report, with_details: bool = False) -> dict[str, object]:
    """One line of JSON. What this client does not measure is null: nothing is tokenized again, nothing drafted."""
    load, numbers = report.load, report.numbers
    inputs, outputs = load.workload.input_tokens, load.workload.output_tokens
    found: dict[str, object] = {
        "tag": report.tag,
        "backend": report.door,
        "dataset_name": load.workload.dataset,
        "request_rate": "inf" if load.request_rate == float("inf") else load.request_rate,
        "max_concurrency": load.max_concurrency,
        "sharegpt_output_len": None,
        "random_input_len": inputs.high,
        "random_output_len": outputs.high,
        "random_range_ratio": round(inputs.low / max(1, inputs.high), 4),
        "shared_input_len": load.workload.shared_tokens,
        "seed": load.seed,
        "server_info": report.server,
        "duration": numbers.duration,
        "completed": numbers.completed,
        "failed": numbers.failed,
        "other_length": numbers.other_length,
        "total_input_tokens": numbers.input_tokens,
        "total_input_text_tokens": numbers.input_tokens,
        "total_input_vision_tokens": 0,
        "total_cached_tokens": numbers.cached_tokens,
        "total_output_tokens": numbers.output_tokens,
        "total_output_tokens_retokenized": None,
        **report.rates,
    }
    for name, spread in numbers.spreads.items():
        found |= {f"{key}_{name}_ms": value for key, value in structs.asdict(spread).items()}
    found |= {
        "concurrency": numbers.concurrency,
        "accept_length": None,
        "max_output_tokens_per_s": numbers.peak_tokens,
        "max_concurrent_requests": numbers.peak_requests,
    }
    return found | (_details(report.timelines) if with_details else {}) | facts()


def _details(timelines: Sequence[Timeline]) -> dict[str, object]:
    """Request by request, in the order in which they were made."""
    return {
        "input_lens": [each.input_tokens for each in timelines],
        "output_lens": [each.output_tokens for each in timelines],
        "ttfts": [each.ttft if each.is_done else None for each in timelines],
        "itls": [list(each.itls()) for each in timelines],
        "generated_texts": [each.text for each in timelines],
        "errors": [each.error for each in timelines],
    }
