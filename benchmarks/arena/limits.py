"""What the machine can do, measured, and the least time that a model needs for a workload on it."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from benchmarks.arena.models import Shape
from stemma.bench.workload import Prompt
from stemma.core.base.errors import StemmaError
from stemma.core.config.machine import find_compiler

SOURCE = Path(__file__).parent / "limits.cpp"
# A weight of the 4-bit formats has its share of a scale, as in llama.cpp's Q4_0 and Q8_0.
WEIGHT_BYTES = {"bf16": 2.0, "fp16": 2.0, "int8": 1.0, "q8_0": 34 / 32, "int4": 18 / 32, "q4_0": 18 / 32}
NUMBER_BYTES = 2  # of keys and values


class Limits(Struct, frozen=True, kw_only=True, tag="arena_limits", tag_field="bench"):
    """Per second: bytes read with prefetching, and operations by the instructions that are named beside them."""

    threads: int
    read: float
    bf16: float
    int8: float
    of_bf16: str
    of_int8: str
    machine: str = ""
    date: str = ""
    commit: str = ""


class Floor(Struct, frozen=True, kw_only=True):
    """Seconds below which a workload cannot take."""

    prefill: float
    decode: float


def measure(threads: Sequence[int]) -> list[Limits]:
    """Raises StemmaError without a compiler."""
    if (compiler := find_compiler()) is None:
        raise StemmaError("the limits of the machine are measured by a C++ program; install g++")
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/limits"
        subprocess.run([compiler, "-O3", "-march=native", "-pthread", SOURCE, "-o", program], check=True)
        lines = [subprocess.check_output([program, str(count)]) for count in threads]
    found = [msgspec.json.decode(line) for line in lines]
    return [Limits(**each) for each in found]


def floor(shape: Shape, weights: str, prompts: Sequence[Prompt], shared: int, limits: Limits) -> Floor:
    """Every weight is read once per step, every key and value of one's own once per token, shared ones once per step.

    A token costs two operations per weight, a token of a prompt also its attention to what is before it. To read and
    to multiply can go on at the same time.
    """
    rate = limits.int8 if weights in ("int8", "q8_0") else limits.bf16
    each = [len(prompt.tokens) - shared for prompt in prompts]
    pairs = shared * shared / 2 + sum(own * shared + own * own / 2 for own in each)
    wide = shape.num_attention_heads * shape.head_dim
    prefill = 2 * shape.layer_weights * (shared + sum(each)) / rate
    prefill += 4 * shape.num_hidden_layers * wide * pairs / limits.bf16
    # The first token of an answer comes from its prompt's step.
    steps = [prompt.output_tokens - 1 for prompt in prompts]
    own = sum(length * count + count * count / 2 for length, count in zip(each, steps, strict=True))
    weight_bytes = WEIGHT_BYTES[weights] * (shape.layer_weights + shape.head_weights)
    cached = (own + shared * max(steps)) * shape.token_numbers * NUMBER_BYTES
    reading = (max(steps) * weight_bytes + cached) / limits.read
    multiplying = 2 * (shape.layer_weights + shape.head_weights) * sum(steps) / rate
    return Floor(prefill=prefill, decode=max(reading, multiplying))
