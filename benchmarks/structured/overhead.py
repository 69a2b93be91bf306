"""What a grammar costs a step: the time between tokens of 32 constrained rows beside that of 32 free ones.

    python -m benchmarks.structured.overhead [acorn | M | FOLDER] ...

M has the shape of Qwen3-0.6B and random weights, with a vocabulary of 151,936 tokens. The time between tokens is
that of a batch of long answers less that of short ones, by the tokens between them; all ways take turns in one
engine, and each counts with the median of its rounds. Forced text is drawn, too. One JSON line per model and grammar:
`counted` is a string whose every letter is a state of its own, the worst case of a cheap mask; `records` are objects.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.arena.models import FAMILIES, SHAPES, tokenizer
from benchmarks.facts import report
from stemma.offline import Engine

ROWS, ROUNDS = 32, 5
SHORT, LONG = 8, 40
PROMPTS = [f"The quick brown fox number {row} says" for row in range(ROWS)]
RECORD = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "is_member": {"type": "boolean"}},
    "required": ["name", "age", "is_member"],
    "additionalProperties": False,
}
GRAMMARS: dict[str, dict[str, str]] = {
    "free": {},
    "counted": {"json_schema": json.dumps({"type": "string", "minLength": 2000})},
    "records": {"json_schema": json.dumps({"type": "array", "minItems": 200, "items": RECORD})},
}


def shape_of_m(folder: Path) -> Path:
    """A folder without weights: they are made up."""
    shape = SHAPES["M"]
    fixed = {"torch_dtype": "bfloat16", "hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 4096}
    config = FAMILIES["M"] | msgspec.to_builtins(shape) | fixed | {"bos_token_id": None, "eos_token_id": 2}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer(shape.vocab_size).save(str(folder / "tokenizer.json"))
    return folder


def seconds(engine: Engine, tokens: int, grammar: dict[str, str]) -> float:
    began = time.perf_counter()
    engine.generate(PROMPTS, {"max_new_tokens": tokens, "temperature": 0, "ignore_eos": True, **grammar})
    return time.perf_counter() - began


def measure(name: str, **options: object) -> None:
    found: dict[str, list[float]] = {way: [] for way in GRAMMARS}
    with Engine(**options, max_running_requests=ROWS, disable_jump_forward=True) as engine:
        for grammar in GRAMMARS.values():
            seconds(engine, SHORT, grammar)  # compiles
        for _ in range(ROUNDS):
            for way, grammar in GRAMMARS.items():
                found[way].append((seconds(engine, LONG, grammar) - seconds(engine, SHORT, grammar)) / (LONG - SHORT))
    free = median(found.pop("free"))
    for way, rounds in found.items():
        bound = median(rounds)
        report(
            "structured_overhead",
            model=name,
            grammar=way,
            rows=ROWS,
            free_ms=round(1e3 * free, 3),
            constrained_ms=round(1e3 * bound, 3),
            overhead_percent=round(100 * (bound / free - 1), 2),
            overhead_us_per_row=round(1e6 * (bound - free) / ROWS, 1),
        )


def main() -> None:
    for name in sys.argv[1:] or ["acorn", "M"]:
        if name == "acorn":
            measure(name)
        elif name == "M":
            with tempfile.TemporaryDirectory() as folder:
                measure(name, model_path=str(shape_of_m(Path(folder))), load_format="dummy")
        else:
            measure(Path(name).name, model_path=name)


if __name__ == "__main__":
    main()
