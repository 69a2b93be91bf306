"""Engines side by side: `python -m benchmarks.arena [--models M S] [--rounds 3] [--minutes 25]`.

Measures what the machine can do, then lets engines take turns at the same token ids over `/v1/completions`:
A B C A B C, so that a machine that becomes slower does so for all. One engine computes at a time; one that starts
slowly stays up, stopped, while others play. Prints a JSON line for the limits, for each start and for each workload
played, and at the end the tables.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.arena.contest import PLAYED, Contest, Rules
from benchmarks.arena.limits import measure
from benchmarks.arena.lines import Line, Result, Start
from benchmarks.arena.lineup import LINEUP, Contender, contender
from benchmarks.arena.models import SHAPES, write
from benchmarks.arena.picture import draw
from benchmarks.arena.recipe import RECIPES, is_installed
from benchmarks.arena.table import tables
from stemma.core.base.errors import StemmaError
from stemma.core.config.env import cache_folder
from stemma.core.config.flags import Parser


def parser() -> Parser:
    made = Parser("arena", "python -m benchmarks.arena [options]", __doc__ or "")
    made.add_argument("--engines", nargs="+", metavar="NAME[=URL|=RECIPE]", help="the first judges the others' texts")
    made.add_argument("--models", nargs="+", metavar="MODEL", help=f"of {', '.join(SHAPES)}, or folders (default: M)")
    made.add_argument("--peers", metavar="FOLDER", help="where recipes were installed")
    made.add_argument("--workloads", nargs="+", choices=PLAYED, help="default: all")
    made.add_argument("--rounds", type=int, metavar="N", help="turns of each engine (default 3)")
    made.add_argument("--minutes", type=float, metavar="X", help="begin no turn that would end later")
    made.add_argument("--margin", type=float, metavar="X", help="logprobs this close are a tie (default 0.3)")
    made.add_argument("--quick", action="store_true", help="a few tokens only: does everything run?")
    made.add_argument("--output", metavar="FILE", help="append the JSON lines here too")
    made.add_argument("--tables", metavar="FILE", help="write the tables here too, as Markdown")
    made.add_argument("--picture", metavar="FILE", help="draw output against waiting; the name ends in .svg or .png")
    made.add_argument("--again", nargs="+", metavar="FILE", help="measure nothing: tables and picture of these lines")
    return made


def main(argv: Sequence[str]) -> int:
    wish = vars(parser().parse(argv))
    lines = [line for path in wish["again"] for line in read(Path(path))] if "again" in wish else contest(wish)
    found = tables(lines)
    print(found)
    if path := wish.get("tables"):
        Path(path).write_text(found + "\n")
    if path := wish.get("picture"):
        draw(lines, Path(path))
    is_bad = any(isinstance(line, Start) and (line.error or line.parting) for line in lines)
    return 1 if is_bad or any(isinstance(line, Result) and not line.is_valid for line in lines) else 0


def read(path: Path) -> list[Line]:
    return [msgspec.json.decode(line, type=Line) for line in path.read_text().splitlines()]


def contest(wish: Mapping[str, Any]) -> list[Line]:
    peers = Path(wish.get("peers", cache_folder() / "peers"))
    models = [folder_of(word) for word in wish.get("models", ["M"])]
    contenders = [contender(word) for word in wish["engines"]] if "engines" in wish else lineup(peers)
    rules = msgspec.convert({name: wish[name] for name in Rules.__struct_fields__ if name in wish}, Rules)
    found = Contest(contenders, peers, rules, Path(wish["output"]) if "output" in wish else None)
    for limits in measure([1, len(os.sched_getaffinity(0))]):
        found.write(msgspec.to_builtins(limits))
        found.limits = limits
    found.play(models)
    return found.lines


def lineup(peers: Path) -> list[Contender]:
    """As far as it is installed."""
    for each in LINEUP.values():
        if not is_installed(each, peers):
            hint = f"bash {RECIPES / each.recipe}.sh install {peers / each.recipe}"
            print(f"{each.name} is not installed: {hint}", file=sys.stderr)
    return [each for each in LINEUP.values() if is_installed(each, peers)]


def folder_of(word: str) -> Path:
    """A model of ours is made when it is asked for the first time."""
    folder = cache_folder() / "arena" / word if word in SHAPES else Path(word)
    if word in SHAPES and not (folder / "model.safetensors").exists():
        write(word, folder)
    return folder.absolute()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except StemmaError as error:
        sys.exit(f"arena: error: {error.message}")
    except KeyboardInterrupt:
        sys.exit(130)
