"""What a long prompt costs: one request of 1k to 32k tokens, on a small model with random weights.

    python -m benchmarks.long_prompt [LENGTH ...]

The cost of position p is that of the layers, the same for all, and that of attention, which grows with p.
So the cost of the last thousand tokens, `last_ms`, may grow as a straight line and no faster: `fit_error`
is how far the measured ones are from the best line, as a share of the largest.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.facts import report
from stemma.core.types.sampling import SamplingParams
from tests.checkpoints import tiny_checkpoint
from tests.engine_harness import DrivenEngine, engine_config, request

CHUNK = 512
SPAN = 1024


def spans_ms(folder: Path, length: int) -> list[float]:
    """Milliseconds of every SPAN tokens of a prompt, scheduling and publishing included."""
    engine = DrivenEngine(
        engine_config(
            folder, dtype="bfloat16", pages=length // 16 + 8, step_tokens=CHUNK, context=length + 8, threads=2
        )
    )
    prompt = [position * 31 % 251 for position in range(length)]
    sampling = SamplingParams(max_new_tokens=1, temperature=0.0, ignore_eos=True, sampling_seed=0)
    engine.channel.to_engine += [request("long", prompt, sampling)]
    took = []
    for _ in range(length // SPAN):
        began = time.perf_counter()
        for _ in range(SPAN // CHUNK):
            engine.loop.turn()
        took.append(1000 * (time.perf_counter() - began))
    return took


def main() -> None:
    longest = int(sys.argv[1]) if len(sys.argv) > 1 else 32768
    with tempfile.TemporaryDirectory() as name:
        folder = tiny_checkpoint(Path(name), "LlamaForCausalLM", max_position_embeddings=longest + 8)
        took = np.array(spans_ms(folder, longest))
    position = np.arange(len(took))
    slope, start = np.polyfit(position, took, 1)
    report(
        "long_prompt",
        unit="milliseconds per 1024 tokens of prompt",
        tokens=longest,
        first_ms=round(float(took[0]), 1),
        last_ms=round(float(took[-1]), 1),
        line_ms=[round(float(start), 1), round(float(slope), 3)],
        fit_error=round(float(np.abs(took - slope * position - start).max() / took.max()), 3),
        total_seconds=round(float(took.sum()) / 1000, 2),
    )


if __name__ == "__main__":
    main()
