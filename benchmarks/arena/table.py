"""What a contest came to, as Markdown: medians, the spread around them, the share of the machine's limit, and the
ratio to the best of the others whose weights are as wide."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median

from msgspec import Struct

from benchmarks.arena.limits import WEIGHT_BYTES, Limits
from benchmarks.arena.lines import Line, Result, Start

Read = Callable[[Result], float | None]
WIDTHS = {name: round(8 * bytes_ / 2) * 2 for name, bytes_ in WEIGHT_BYTES.items()}  # 16, 8 or 4 bits


class Column(Struct, frozen=True):
    title: str
    read: Read
    form: str = ".2f"


def prefill_rate(result: Result) -> float:
    return 1000 * result.total_input_tokens / result.median_ttft_ms


def decode_rate(result: Result) -> float | None:
    """None: all tokens came in one piece, as from a tiny model through a busy client."""
    return 1000 / result.median_tpot_ms if result.median_tpot_ms else None


def share(result: Result) -> float | None:
    """Of the limit, in percent."""
    return 100 * (result.floor.prefill + result.floor.decode) / result.duration if result.floor else None


def decode_share(result: Result) -> float | None:
    seconds = result.median_tpot_ms * (result.total_output_tokens - 1) / 1000
    return 100 * result.floor.decode / seconds if result.floor and seconds else None


TTFT = Column("TTFT s", lambda result: result.median_ttft_ms / 1000)
ITL = Column("ITL ms", lambda result: result.median_itl_ms, ".1f")
ITL_P99 = Column("ITL p99 ms", lambda result: result.p99_itl_ms, ".0f")
OUTPUT = Column("output tok/s", lambda result: result.output_throughput, ".1f")
OF_LIMIT = Column("% of limit", share, ".0f")
# By workload: what engines are compared by, and what else is shown.
COLUMNS: dict[str, tuple[Column, ...]] = {
    "latency": (
        Column("decode tok/s", decode_rate, ".1f"),
        Column("% of limit", decode_share, ".0f"),
        TTFT,
        Column("prefill tok/s", prefill_rate, ".0f"),
    ),
    "serve": (OUTPUT, OF_LIMIT, TTFT, Column("TTFT p99 s", lambda result: result.p99_ttft_ms / 1000), ITL, ITL_P99),
    "prefix": (OUTPUT, OF_LIMIT, Column("wall s", lambda result: result.duration), TTFT, ITL, ITL_P99),
}
PREFACE = """\
# Engines side by side

Written by `python -m benchmarks.arena --tables`; how it was measured is told in
[How to measure a server](../../docs/how/benchmark.md#engines-side-by-side). Medians, and in parentheses least and most.
The ratio is to the best of the other engines whose weights are as wide: 16, 8 or 4 bits. `% of limit` is the least time
that reading and multiplying allow on this machine, over the time taken."""
TITLES = {
    "latency": "W1: one request, 512 in, 128 out",
    "serve": "W2 and W4: 32 requests at once, 8108 in, 2460 out, streamed over HTTP",
    "prefix": "W3: 32 requests that share 1024 tokens, 64 of their own, 32 out",
}


def tables(lines: Sequence[Line]) -> str:
    """Runs that are not valid count nowhere but in the column of runs."""
    results = [line for line in lines if isinstance(line, Result)]
    starts = [line for line in lines if isinstance(line, Start)]
    parts = [PREFACE, _limits([line for line in lines if isinstance(line, Limits)])]
    for model in dict.fromkeys(line.model for line in starts):
        for workload, title in TITLES.items():
            if mine := [each for each in results if (each.model, each.workload) == (model, workload)]:
                parts.append(f"**Model {model}. {title}**\n\n{_table(_rows(mine, COLUMNS[workload]))}")
        mine_starts = [each for each in starts if each.model == model]
        parts.append(f"**Model {model}. From the command to the first token**\n\n{_table(_starts(mine_starts))}")
    return "\n\n".join(parts)


def _limits(found: Sequence[Limits]) -> str:
    where = "; ".join(dict.fromkeys(f"{each.machine}, {each.date[:10]}, commit {each.commit}" for each in found))
    head = ("threads", "read GB/s", "bf16 GFLOP/s", "int8 GOP/s")
    rows = [(str(each.threads), *(f"{rate / 1e9:.1f}" for rate in (each.read, each.bf16, each.int8))) for each in found]
    return f"**Limits of the machine**: {where}\n\n{_table([head, *rows])}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def _rows(played: Sequence[Result], columns: Sequence[Column]) -> list[Sequence[str]]:
    main, *others = columns
    head = ("engine", "weights", "runs", main.title, "to the best other", *(column.title for column in others))
    names = list(dict.fromkeys(each.engine for each in played))
    valid = {name: [each for each in played if each.engine == name and each.is_valid] for name in names}
    rows = []
    for name in names:
        runs, found = [each for each in played if each.engine == name], valid[name]
        count = str(len(found)) if len(found) == len(runs) else f"{len(found)} of {len(runs)} valid"
        cells = (_spread(found, main), _ratio(name, runs[0], valid, main), *(_spread(found, each) for each in others))
        rows.append((name, runs[0].weights, count, *cells))
    return [head, *rows]


def _ratio(name: str, mine: Result, valid: dict[str, list[Result]], column: Column) -> str:
    """To the best of another family: `openvino-int8` is of `openvino`'s."""
    rates = {
        other: median(rates_found)
        for other, found in valid.items()
        if (rates_found := [rate for rate in map(column.read, found) if rate])
        and WIDTHS[found[0].weights] == WIDTHS[mine.weights]
    }
    others = [rate for other, rate in rates.items() if family(other) != family(name)]
    return f"{rates[name] / max(others):.2f}" if name in rates and others else "-"


def family(name: str) -> str:
    return name.partition("-")[0]


def _spread(found: Sequence[Result], column: Column) -> str:
    """The median; and least and most, if there are several."""
    values = [value for value in map(column.read, found) if value is not None]
    if not values:
        return "-"
    around = f" ({min(values):{column.form}}-{max(values):{column.form}})" if len(values) > 1 else ""
    return f"{median(values):{column.form}}{around}"


def _starts(found: Sequence[Start]) -> list[Sequence[str]]:
    head = ("engine", "weights", "seconds", "memory GB", "says what the first engine says")
    return [head, *_start_rows(found)]


def _start_rows(found: Sequence[Start]) -> Iterator[Sequence[str]]:
    for name in dict.fromkeys(each.engine for each in found):
        mine = [each for each in found if each.engine == name]
        seconds = [each.ready_seconds for each in mine if each.ready_seconds is not None]
        sizes = [each.resident_bytes for each in mine if each.resident_bytes is not None]
        verdict = next((each.error or each.parting for each in mine if each.error or each.parting), None)
        said = verdict or ("yes" if mine[0].is_compared else "not compared: other weights")
        cells = (f"{median(seconds):.1f}" if seconds else "-", f"{sizes[0] / 1e9:.1f}" if sizes else "-")
        yield (name, mine[0].weights, *cells, said)
