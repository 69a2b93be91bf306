"""What a contest came to, as Markdown: medians, the spread around them, and the ratio to the best of the others."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median

from benchmarks.arena.contest import Outcome
from stemma.bench.numbers import Numbers

HEAD = ("workload", "engine", "runs", "output tok/s", "to the best other", "TTFT ms", "ITL ms", "ITL p99 ms", "wall s")


def table(outcomes: Sequence[Outcome]) -> str:
    """Runs that are not valid count nowhere but in the column of runs."""
    rows = [HEAD, ("---",) * len(HEAD), *_rows(outcomes)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _rows(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, ...]]:
    for workload in dict.fromkeys(each.workload for each in outcomes):
        played = [each for each in outcomes if each.workload == workload]
        names = dict.fromkeys(each.engine.name for each in played)
        runs = {name: [each for each in played if each.engine.name == name] for name in names}
        valid = {name: [each.report.numbers for each in runs[name] if each.is_valid] for name in names}
        rates = {name: median(map(_rate, found)) for name, found in valid.items() if found}
        for name in names:
            others = [rate for other, rate in rates.items() if other != name]
            ratio = f"{rates[name] / max(others):.2f}" if name in rates and others else "-"
            found = valid[name]
            yield (
                workload,
                name,
                str(len(found)) if len(found) == len(runs[name]) else f"{len(found)} of {len(runs[name])} valid",
                _spread(found, _rate, ".1f"),
                ratio,
                _spread(found, lambda numbers: numbers.spreads["ttft"].median, ".0f"),
                _spread(found, lambda numbers: numbers.spreads["itl"].median, ".1f"),
                _spread(found, lambda numbers: numbers.spreads["itl"].p99, ".1f"),
                _spread(found, lambda numbers: numbers.duration, ".2f"),
            )


def _rate(numbers: Numbers) -> float:
    return numbers.per_second(numbers.output_tokens)


def _spread(found: Sequence[Numbers], read: Callable[[Numbers], float], form: str) -> str:
    """The median, and least and most."""
    values = [read(numbers) for numbers in found]
    if not values:
        return "-"
    return f"{median(values):{form}} ({min(values):{form}}-{max(values):{form}})"
