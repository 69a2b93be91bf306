"""What it is worth to give forced text instead of drawing it: JSON with long fixed keys, end to end.

    python -m benchmarks.structured.jump_forward [MODEL]

Each sentence is extracted by an Engine that gives forced text and by one that draws it, and continued for as many
tokens under xgrammar, which draws all (where it is installed), and without any grammar. One JSON line per way: seconds
of all sentences, one after the other, the best of three rounds. Answers of the first two are the same text, and valid.
"""

import json
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.facts import report
from stemma.offline import Engine

ROUNDS = 3
NAMES = ["Camila", "Jonas", "Aiko", "Ravi", "Elena", "Omar"]
CITIES = ["Oslo", "Lima", "Kyoto", "Pune", "Turin", "Cairo"]
KEYS = {
    "full_name_of_the_person_described_above": "[A-Z][a-z]{1,8}",
    "age_of_the_person_in_completed_years": None,
    "city_in_which_the_person_currently_lives": "[A-Z][a-z]{1,8}",
    "is_the_person_currently_employed_anywhere": None,
    "preferred_way_of_contacting_the_person": None,
}
FORMS: dict[str, object] = {
    "age_of_the_person_in_completed_years": {"type": "integer", "minimum": 1, "maximum": 99},
    "is_the_person_currently_employed_anywhere": {"type": "boolean"},
    "preferred_way_of_contacting_the_person": {"enum": ["by letter", "by telephone", "by electronic mail"]},
}
SCHEMA = {
    "type": "object",
    "properties": {key: FORMS.get(key, {"type": "string", "pattern": f"^{form}$"}) for key, form in KEYS.items()},
    "required": list(KEYS),
    "additionalProperties": False,
}
PROMPTS = [
    f"Extract as JSON: {name} is {30 + at} years old and lives in {city}.\n"
    for at, (name, city) in enumerate(zip(NAMES, CITIES, strict=True))
]


def timed(engine: Engine, asks: Sequence[dict[str, Any]]) -> tuple[float, list[dict[str, Any]]]:
    """The best of some rounds, and the answers."""
    best, answers = float("inf"), []
    for _ in range(ROUNDS + 1):  # the first compiles
        began = time.perf_counter()
        answers = [engine.generate(prompt, asked) for prompt, asked in zip(PROMPTS, asks, strict=True)]
        best = min(best, time.perf_counter() - began)
    return best, answers


def main() -> None:
    model: dict[str, object] = {"constrained_json_disable_any_whitespace": True}
    if len(sys.argv) > 1:
        model["model_path"] = sys.argv[1]
    name = Path(sys.argv[1]).name if len(sys.argv) > 1 else "acorn"
    asked = {"max_new_tokens": 400, "temperature": 0, "json_schema": json.dumps(SCHEMA)}
    texts: list[list[str]] = []
    lengths: list[int] = []
    drawn: dict[str, object] = {"disable_jump_forward": True}
    ways = {"given": {}, "drawn": drawn}
    if find_spec("xgrammar"):
        ways["xgrammar"] = drawn | {"grammar_backend": "xgrammar"}
    for way, options in {**ways, "unconstrained": {}}.items():
        asks = [asked] * len(PROMPTS)
        if way in ("xgrammar", "unconstrained"):
            bound = asked if way == "xgrammar" else {"temperature": 0, "ignore_eos": True}
            asks = [{**bound, "max_new_tokens": length} for length in lengths]
        with Engine(**model, **options, disable_radix_cache=True) as engine:
            seconds, answers = timed(engine, asks)
        if way in ("given", "drawn"):
            texts.append([answer["text"] for answer in answers])
            assert all(set(json.loads(text)) == set(KEYS) for text in texts[-1])
            lengths = [len(answer["output_ids"]) for answer in answers]
        tokens = sum(len(answer["output_ids"]) for answer in answers)
        report("jump_forward", model=name, way=way, seconds=round(seconds, 4), tokens=tokens, requests=len(PROMPTS))
    assert texts[0] == texts[1]


if __name__ == "__main__":
    main()
