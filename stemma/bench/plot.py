"""Pictures of a run as SVG, written by hand: a few lines need no plotting library."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from stemma.bench.numbers import latencies
from stemma.bench.report import BLOCKS, Report

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 40, 50
COLOURS = ("#1b6ca8", "#c8553d", "#3b8b58", "#7a5195", "#b8860b", "#555555")

Points = Sequence[tuple[float, float]]


def draw_report(report: Report, path: Path) -> None:
    """For each kind of latency: which share of the requests, or tokens, had at most so much."""
    found = latencies([each for each in report.timelines if each.is_done])
    lines = {title: shares([1000 * each for each in found[name]]) for name, title in BLOCKS.items()}
    rate = report.rates["output_throughput"]
    path.write_text(svg(f"{report.numbers.completed} requests, {rate:.1f} output tokens/s", "milliseconds", lines))


def shares(values: Sequence[float]) -> Points:
    """Each value, and the percentage of values that are not above it."""
    ordered = sorted(values)
    return [(value, 100 * (at + 1) / len(ordered)) for at, value in enumerate(ordered)]


def svg(title: str, label: str, lines: Mapping[str, Points]) -> str:
    """A chart of percentages over positive values, whose axis is logarithmic."""
    values = [x for points in lines.values() for x, _ in points if x > 0] or [1.0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(max(x, 10.0**low)) - low) / (high - low)

    def down(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / 100

    def parts() -> Iterator[str]:
        yield text(WIDTH / 2, 24, title, 15)
        yield text(WIDTH / 2, HEIGHT - 10, label)
        for power in range(low, high + 1):
            x = across(10.0**power)
            yield f'<path d="M{x:.1f} {down(0):.1f}V{down(100):.1f}" stroke="#ddd"/>'
            yield text(x, HEIGHT - BOTTOM + 16, f"{10.0**power:g}")
        for percent in range(0, 101, 25):
            yield f'<path d="M{LEFT} {down(percent):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            yield text(LEFT - 24, down(percent) + 4, f"{percent} %")
        for number, (name, points) in enumerate(lines.items()):
            colour, y = COLOURS[number % len(COLOURS)], TOP + 18 * number + 14
            if points:
                places = " ".join(f"{across(x):.1f},{down(share):.1f}" for x, share in points)
                yield f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>'
            yield f'<path d="M{LEFT + 10} {y - 4}h20" stroke="{colour}" stroke-width="2"/>'
            yield text(LEFT + 36, y, name, anchor="start")

    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts(), "</svg>\n"])


def text(x: float, y: float, words: str, size: int = 12, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(words)}</text>'
