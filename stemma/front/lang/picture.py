"""What a program did and when, and a picture of it: time goes to the right, each branch has a line of its own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from time import perf_counter

from stemma.front.lang.ir import CommitLazy, Gen, Node, Select

WIDTH, LANE, BOX, MARGIN = 1000, 44, 26, 20  # all time; height of a branch and of a box in it; around all; pixels
CHARACTER = 6.5  # width of one, about
COLOURS: dict[type[Node], str] = {Gen: "#9ecae1", Select: "#fdd0a2", CommitLazy: "#c7e9c0"}
TOLD = ("prompt_tokens", "cached_tokens", "completion_tokens")


@dataclass(frozen=True, slots=True)
class Deed:
    """A node that waited for the backend."""

    node: Node
    line: str
    began: float
    ended: float
    text: str
    meta: object


@dataclass(slots=True, eq=False)
class Track:
    """What a branch did. Written by its executor; times are those of `perf_counter`."""

    began: float = field(default_factory=perf_counter)
    joined: float | None = None
    deeds: list[Deed] = field(default_factory=list)
    children: list["Track"] = field(default_factory=list)

    def end(self) -> float:
        ends = [deed.ended for deed in self.deeds] + [child.end() for child in self.children]
        return max([self.began, self.joined or self.began, *ends])


def svg(root: Track) -> str:
    """The picture. Of each box, line, text and counts are told to whoever points at it."""
    seconds = max(root.end() - root.began, 1e-6)
    tracks = list(_with_parents(root, None))
    y = {id(track): MARGIN + row * LANE + LANE // 2 for row, (track, _) in enumerate(tracks)}

    def x(time: float) -> float:
        return round(MARGIN + (time - root.began) / seconds * WIDTH, 1)

    parts = []
    for track, parent in tracks:
        at, left, right = y[id(track)], x(track.began), x(track.end())
        parts.append(_line(left, at, right, at))
        if parent is not None:
            parts.append(_line(left, y[id(parent)], left, at))
            parts += [_line(right, at, right, y[id(parent)])] if track.joined else []
        parts += [_box(deed, at, x) for deed in track.deeds]
    width, height = WIDTH + 2 * MARGIN, len(tracks) * LANE + 2 * MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="11"><rect width="{width}" height="{height}" fill="white"/>{"".join(parts)}'
        f'<text x="{MARGIN}" y="{height - 6}">{seconds * 1000:.1f} ms</text></svg>'
    )


def _with_parents(track: Track, parent: Track | None) -> Iterator[tuple[Track, Track | None]]:
    yield track, parent
    for child in track.children:
        yield from _with_parents(child, track)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#888"/>'


def _box(deed: Deed, y: float, x: Callable[[float], float]) -> str:
    left, width = x(deed.began), max(x(deed.ended) - x(deed.began), 2.0)
    kind = type(deed.node)
    name = getattr(deed.node, "name", None) or ("fork" if kind is CommitLazy else kind.__name__)
    label = f"{name} {(deed.ended - deed.began) * 1000:.1f} ms"
    meta = deed.meta if isinstance(deed.meta, dict) else {}
    counts = [f"{told}: {meta[told]}" for told in TOLD if told in meta]
    return (
        f"<g><title>{escape(chr(10).join([label, deed.line, *counts, deed.text[:200]]))}</title>"
        f'<rect x="{left}" y="{y - BOX // 2}" width="{width:.1f}" height="{BOX}" rx="3" fill="{COLOURS[kind]}" '
        f'stroke="#555"/><text x="{left + 4}" y="{y + 4}">{escape(label[: int(width / CHARACTER)])}</text></g>'
    )
