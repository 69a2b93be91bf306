"""The contest as a picture: for each workload, output tokens per second against the stalls between them.

A point is an engine's median, its bars reach from the least to the most. Right and low is better.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks.arena.contest import Outcome
from stemma.bench.plot import COLOURS, text

SIDE, GAP = 260, 70  # of a panel; around it


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    valid = [each for each in outcomes if each.is_valid]
    workloads = list(dict.fromkeys(each.workload for each in valid))
    width, height = GAP + len(workloads) * (SIDE + GAP), SIDE + 2 * GAP
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    engines = list(dict.fromkeys(each.engine.name for each in outcomes))
    parts = [
        part
        for number, workload in enumerate(workloads)
        for part in _panel(workload, [each for each in valid if each.workload == workload], engines, number)
    ]
    path.write_text("\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"]))


def _panel(workload: str, played: Sequence[Outcome], engines: Sequence[str], number: int) -> Iterator[str]:
    left, bottom = GAP + number * (SIDE + GAP), GAP + SIDE
    rates = [each.report.rates["output_throughput"] for each in played]
    stalls = [each.report.numbers.spreads["itl"].p99 for each in played]
    widest, highest = max(rates) * 1.1, max(*stalls, 0.001) * 1.1
    yield f'<path d="M{left} {GAP}V{bottom}H{left + SIDE}" fill="none" stroke="#888"/>'
    yield text(left + SIDE / 2, GAP - 20, workload, 15)
    yield text(left + SIDE / 2, bottom + 34, "output tokens/s")
    yield text(left, GAP - 6, "ITL p99, ms")
    for share in (0.5, 1.0):
        yield text(left + SIDE * share, bottom + 16, f"{widest * share:.3g}")
        yield text(left - 6, bottom - SIDE * share + 4, f"{highest * share:.3g}", anchor="end")
    for name in engines:
        mine = [at for at, each in enumerate(played) if each.engine.name == name]
        if not mine:
            continue
        across = [left + SIDE * rates[at] / widest for at in mine]
        down = [bottom - SIDE * stalls[at] / highest for at in mine]
        x, y, colour = median(across), median(down), COLOURS[engines.index(name) % len(COLOURS)]
        yield f'<path d="M{min(across):.1f} {y:.1f}H{max(across):.1f}" stroke="{colour}"/>'
        yield f'<path d="M{x:.1f} {min(down):.1f}V{max(down):.1f}" stroke="{colour}"/>'
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
        is_left = x < left + SIDE / 2  # then there is room for the name on the right
        yield text(x + 7 if is_left else x - 7, y - 7, name, anchor="start" if is_left else "end")
