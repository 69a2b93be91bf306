"""How a result is printed: one JSON line, with the facts of the machine beside the numbers."""

import json

from stemma.bench.facts import facts


def report(bench: str, **numbers: object) -> None:
    print(json.dumps({"bench": bench, **numbers, **facts()}))
