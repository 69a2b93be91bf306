"""Pictures of a run. Only they need matplotlib, which comes with the extra `plot`."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stemma.bench.numbers import latencies
from stemma.bench.report import BLOCKS, Report

PANEL_INCHES = (5.0, 3.6)


def figure_of(rows: int, columns: int) -> tuple[Figure, list[list[Axes]]]:
    """An empty figure, and its panels."""
    wide, high = PANEL_INCHES
    figure = Figure((wide * columns, high * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).tolist()


def save(figure: Figure, path: Path) -> None:
    """As the name ends: .svg, whose words stay words, or .png."""
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(path, dpi=150)


def draw_report(report: Report, path: Path) -> None:
    """For each kind of latency: which share of the requests, or tokens, had at most so much."""
    found = latencies([each for each in report.timelines if each.is_done])
    figure, ((panel,),) = figure_of(1, 1)
    for name, title in BLOCKS.items():
        panel.plot(*shares([1000 * each for each in found[name]]), drawstyle="steps-post", label=title)
    panel.set_title(f"{report.numbers.completed} requests, {report.rates['output_throughput']:.1f} output tokens/s")
    panel.set_xscale("log")
    panel.set_xlabel("milliseconds")
    panel.set_ylabel("%")
    panel.grid(color="#dddddd")
    panel.legend()
    save(figure, path)


def shares(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """The values in order, and for each the percentage that are not above it."""
    return sorted(values), [100 * (at + 1) / len(values) for at in range(len(values))]
