"""Engines side by side: `python -m benchmarks.arena --engines stemma vllm other=http://127.0.0.1:8000 --model FOLDER`.

Every engine gets the same token ids over `/v1/completions`, in turns: A B A B, so that a machine that becomes
slower does so for all. Prints one JSON line per engine, workload and repetition, and at the end a table.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from msgspec.structs import replace

from benchmarks.arena.contest import Engine, Outcome, play
from benchmarks.arena.pareto import draw
from benchmarks.arena.recipe import cooked
from benchmarks.arena.same import same_texts
from benchmarks.arena.table import table
from stemma.bench.door import meet
from stemma.bench.load import Load
from stemma.bench.workload import WORKLOADS, Span, span_of, usable_ids
from stemma.cli.bench import load_of
from stemma.core.base.errors import ConfigError, StemmaError
from stemma.core.config.env import api_key
from stemma.core.config.flags import Parser

PEERS = Path("~/.cache/stemma/peers")
SEED_STEP = 1000  # between workloads, so that no prompt comes twice and no cache of prefixes helps


def parser() -> Parser:
    made = Parser("arena", "python -m benchmarks.arena --engines NAME[=URL|=RECIPE] ... [options]", __doc__ or "")
    made.add_argument("--engines", nargs="+", required=True, metavar="NAME", help="the first one judges the texts")
    made.add_argument("--model", metavar="FOLDER", help="what recipes serve")
    made.add_argument("--peers", metavar="FOLDER", help=f"where recipes were installed (default {PEERS})")
    made.add_argument("--workloads", nargs="+", choices=WORKLOADS, help="default: all")
    made.add_argument("--repetitions", type=int, metavar="N", help="default: 3")
    made.add_argument("--margin", type=float, metavar="X", help="logprobs this close are a tie (default 0.2)")
    made.add_argument("--other-weights", action="store_true", help="do not compare texts")
    made.add_argument("--output", metavar="FILE", help="append the JSON lines here too")
    made.add_argument("--plot", metavar="FILE.svg", help="draw tokens per second against stalls")
    sizes: dict[str, Callable[[str], object]] = {
        "--requests": int,
        "--input-tokens": span_of,
        "--output-tokens": span_of,
        "--shared-tokens": int,
    }
    for flag, read in sizes.items():
        made.add_argument(flag, type=read, metavar="N", help="of every workload, in place of its own")
    return made


def main(argv: Sequence[str]) -> int:
    wish = vars(parser().parse(argv))
    with ExitStack() as stack:
        engines = [entered(stack, word, wish) for word in wish["engines"]]
        vocabularies = [each.server.vocabulary for each in engines if each.server.vocabulary]
        ids = usable_ids(None, min(vocabularies, default=None))
        if "other_weights" not in wish:
            asyncio.run(same_texts(engines, ids, wish.get("margin", 0.2)))
        outcomes: list[Outcome] = []
        try:
            for number, name in enumerate(wish.get("workloads", WORKLOADS)):
                load = load_of(name, wish | {"token_ids": Span(ids.start, ids.stop - 1)})
                for outcome in play(engines, name, loads(load, number, wish.get("repetitions", 3))):
                    outcomes.append(outcome)
                    tell(outcome, wish.get("output"))
        finally:
            # Of a contest that was broken off, too.
            print(table(outcomes))
            if path := wish.get("plot"):
                draw(outcomes, Path(path))
    return 0 if all(outcome.is_valid for outcome in outcomes) else 1


def entered(stack: ExitStack, word: str, wish: Mapping[str, str]) -> Engine:
    """An engine that answers: one that runs already, or one made by a recipe."""
    name, _, place = word.partition("=")
    url, ready_seconds = place, None
    if "://" not in place:
        if "model" not in wish:
            raise ConfigError(f"--engines {word}: a recipe needs --model")
        recipe = cooked(place or name, Path(wish.get("peers", PEERS)).expanduser(), wish["model"])
        url, ready_seconds = stack.enter_context(recipe)
    server = asyncio.run(meet(url, api_key(), "openai"))
    return Engine(name=name, server=server, ready_seconds=ready_seconds)


def loads(load: Load, number: int, repetitions: int) -> list[Load]:
    """Other prompts each time; a warm-up in the first only."""
    first = load.seed + SEED_STEP * number
    return [replace(load, seed=first + turn, warmups=int(turn == 0)) for turn in range(repetitions)]


def tell(outcome: Outcome, path: str | None) -> None:
    line = json.dumps(outcome.record())
    print(line, flush=True)
    if path:
        with Path(path).open("a") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except StemmaError as error:
        sys.exit(f"arena: error: {error.message}")
    except KeyboardInterrupt:
        sys.exit(130)
