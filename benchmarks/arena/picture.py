"""The contest as a picture: a row for each model, a panel for each workload, a point for each engine.

A point is a median, its bars reach from the least to the most. Right and low is better. The line joins those whom
nobody beats in both.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from benchmarks.arena.lines import Line, Result
from benchmarks.arena.table import TITLES, WIDTHS, decode_rate, family
from stemma.bench.plot import figure_of, save

MARKERS = {16: "o", 8: "s", 4: "^"}  # by bits of a weight
FACES = {
    "latency": ("tokens/s while decoding", "time to first token, ms"),
    "serve": ("output tokens/s", "99th percentile between tokens, ms"),
    "prefix": ("output tokens/s", "median time to first token, ms"),
}


def place(result: Result) -> tuple[float, float] | None:
    """How much, and how long one waits. None: its tokens came in one piece, and logarithms know no zero."""
    if result.workload == "latency":
        much, wait = decode_rate(result) or 0.0, result.median_ttft_ms
    else:
        much, wait = (
            result.output_throughput,
            result.p99_itl_ms if result.workload == "serve" else result.median_ttft_ms,
        )
    return (much, wait) if much and wait else None


def draw(lines: Sequence[Line], path: Path) -> None:
    results = [line for line in lines if isinstance(line, Result) and line.is_valid and place(line)]
    models = list(dict.fromkeys(each.model for each in results))
    workloads = [name for name in TITLES if any(each.workload == name for each in results)]
    families = list(dict.fromkeys(family(each.engine) for each in results))
    figure, panels = figure_of(max(1, len(models)), max(1, len(workloads)))
    for row, model in zip(panels, models, strict=False):
        for panel, workload in zip(row, workloads, strict=True):
            shown = [each for each in results if (each.model, each.workload) == (model, workload)]
            _panel(panel, shown, families)
            panel.set_title(f"{model}: {TITLES[workload].partition(',')[0]}", fontsize=10)
            panel.set_xlabel(FACES[workload][0])
            panel.set_ylabel(FACES[workload][1])
    save(figure, path)


def _panel(panel: Axes, shown: Sequence[Result], families: Sequence[str]) -> None:
    points = []
    for name in dict.fromkeys(each.engine for each in shown):
        mine = [each for each in shown if each.engine == name]
        across, down = zip(*filter(None, map(place, mine)), strict=True)
        x, y = median(across), median(down)
        points.append((x, y))
        panel.errorbar(
            x,
            y,
            xerr=[[x - min(across)], [max(across) - x]],
            yerr=[[y - min(down)], [max(down) - y]],
            fmt=MARKERS[WIDTHS[mine[0].weights]],
            color=f"C{families.index(family(name))}",
        )
        panel.annotate(name, (x, y), xytext=(5, 5), textcoords="offset points", fontsize=8)
    best = [one for one in sorted(points) if not any(x > one[0] and y < one[1] for x, y in points)]
    panel.plot(*zip(*best, strict=True), color="#bbbbbb", linewidth=1, zorder=0)
    panel.set_xlim(0, 1.3 * max(x for x, _ in points))
    panel.set_yscale("log")
    panel.margins(y=0.15)
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())
