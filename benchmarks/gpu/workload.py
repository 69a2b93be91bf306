"""The offline workload that small engines are compared by: 256 sequences at once, 100 to 1024 tokens in and out.

Its lengths are those of Python's `random` at seed 0: 142,827 tokens in, 133,966 out. Afterwards the device is watched
for some steps of a full batch: the share of time in which it computes.
"""

import random
import time

from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.engines import Ours, prompts, vocabulary
from benchmarks.gpu.stage import Stage, tell
from benchmarks.gpu.weights import folder_of


def workload(stage: Stage) -> None:
    """Every model of the stage; ours alone, since only we take lengths of their own in one call."""
    for model in stage.models:
        folder = folder_of(stage, model)
        player = Ours(stage, folder)
        asked, tokens = lengths(stage.pick(256, 4), vocabulary(folder), stage.pick(1024, 24))
        sampling = [
            {"max_new_tokens": count, "temperature": 0.6, "ignore_eos": True, "sampling_seed": 0} for count in tokens
        ]
        player.generate(asked[:1], 4)
        began = time.perf_counter()
        player._engine.generate(input_ids=asked, sampling_params=sampling)
        seconds = time.perf_counter() - began
        tell(
            "offline",
            model=model,
            engine="stemma",
            sequences=len(asked),
            input_tokens=sum(map(len, asked)),
            output_tokens=sum(tokens),
            seconds=seconds,
            tokens_per_second=sum(tokens) / seconds,
        )
        if stage.is_accelerated:
            _watch(stage, player, model)
        player.close()


def lengths(sequences: int, vocabulary: int, most: int) -> tuple[list[list[int]], list[int]]:
    """Prompts, and how many tokens each is answered with."""
    draw = random.Random(0)
    least = min(100, most // 2)
    asked = [
        [draw.randint(0, min(10000, vocabulary - 1)) for _ in range(draw.randint(least, most))]
        for _ in range(sequences)
    ]
    return asked, [draw.randint(least, most) for _ in range(sequences)]


def _watch(stage: Stage, player: Ours, model: str) -> None:
    """The union of all kernels' times over the time from the first to the last, in steady decode."""
    asked = prompts(folder_of(stage, model), 64, 128)
    player.generate(asked, 40)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        player.generate(asked, 80)
    spans = sorted(
        (event.time_range.start, event.time_range.end) for event in seen.events() if event.device_type.name == "CUDA"
    )
    spans = spans[len(spans) // 4 :]  # behind the prompts
    busy, reached = 0.0, spans[0][0] if spans else 0.0
    for begin, end in spans:
        busy += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    whole = reached - spans[0][0] if spans else 0.0
    tell("busy", model=model, engine="stemma", rows=64, kernels=len(spans), share=busy / whole if whole else None)
