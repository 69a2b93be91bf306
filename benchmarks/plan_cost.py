"""What the mind costs per step: microseconds of plan() + absorb(), without any device.

    python -m benchmarks.plan_cost

Prints one JSON line. `decode_rows`: medians over steps in which that many rows decode. `queued`: the
same for 32 decoding rows while requests wait that do not fit, by policy and length of the queue.
"""

import time
from statistics import median

from benchmarks.facts import report
from stemma.control.scheduler.scheduler import Scheduler
from stemma.core.config.engine import CacheConfig, Policy, ScheduleConfig
from stemma.core.types.request import Request
from stemma.core.types.sampling import SamplingParams
from stemma.core.types.step import NO_TOKEN, StepPlan, StepResult, unpack_spans
from stemma.core.types.tokens import pack

PAGE_SIZE = 16
PROMPT = 100
OUTPUT = 2000
STEPS = 400


def request(number: int) -> Request:
    prompt = pack((number * 7919 + position * 31) % 30_000 for position in range(PROMPT))
    return Request(id=str(number), tokens=prompt, sampling=SamplingParams(max_new_tokens=OUTPUT, ignore_eos=True))


def answer(plan: StepPlan) -> StepResult:
    return StepResult(step=plan.step, tokens=pack(5 if span.draws else NO_TOKEN for span in unpack_spans(plan.spans)))


def microseconds(rows: int, queued: int, policy: Policy) -> float:
    """The median step of `rows` decodes, with `queued` more requests in the line."""
    pages_each = -(-(PROMPT + OUTPUT) // PAGE_SIZE)
    cache = CacheConfig(pages=rows * pages_each, page_size=PAGE_SIZE)
    # Rows enough for all, pages only for those who decode: the line is looked at in every step.
    limits = ScheduleConfig(max_running=rows + 1, max_queued=None, step_tokens=8192, policy=policy)
    scheduler = Scheduler(cache, limits, context=4096, vocab_size=32_000, stop_ids=(2,))
    for number in range(rows + queued):
        scheduler.add(request(number))
    took: list[float] = []
    while len(took) < STEPS:
        began = time.perf_counter()
        plan = scheduler.plan()
        planned = time.perf_counter()
        assert plan is not None
        result = answer(plan)
        answered = time.perf_counter()
        scheduler.absorb(result)
        absorbed = time.perf_counter()
        spans = list(unpack_spans(plan.spans))
        if sum(span.count for span in spans) == len(spans) == rows:
            took.append((planned - began + absorbed - answered) * 1e6)
    return round(median(took), 1)


def main() -> None:
    policies: tuple[Policy, ...] = ("fcfs", "lpm", "dfs-weight", "lof", "random")
    report(
        "plan_cost",
        unit="microseconds per step, median",
        decode_rows={rows: microseconds(rows, 0, "fcfs") for rows in (1, 32, 256)},
        queued={
            policy: {queued: microseconds(32, queued, policy) for queued in (10, 128, 10_000)} for policy in policies
        },
    )


if __name__ == "__main__":
    main()
