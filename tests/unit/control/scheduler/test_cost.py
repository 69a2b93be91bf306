"""Chunks beside decodes are as long as time allows."""

import pytest

from stemma.control.scheduler.cost import StepCost
from stemma.core.config.engine import ScheduleConfig
from stemma.core.types.step import StepPlan
from tests.plans import rows_of, tokens_of
from tests.scheduler_harness import Harness, alone, request

DECODES = 0.05  # seconds of a step's decodes
TOKEN = 0.0005  # seconds of a token in a chunk


def learned(cost: StepCost, steps: int = 4, token_seconds: float = TOKEN) -> list[float]:
    """How long steps are that hold as many tokens of chunks as fit."""
    took = []
    for _ in range(steps):
        tokens = cost.fitting(4096)
        took.append(DECODES + token_seconds * tokens)
        cost.learn(32, tokens, took[-1])
    return took


def cost_of_a_running_engine(most_seconds: float = 0.25) -> StepCost:
    cost = StepCost(most_seconds)
    cost.learn(0, 512, 512 * TOKEN)
    cost.learn(32, 0, DECODES)
    return cost


def test_a_step_with_a_chunk_ends_in_time() -> None:
    assert learned(cost_of_a_running_engine()) == pytest.approx([0.25] * 4, abs=0.001)


def test_the_longer_a_prompt_the_dearer_its_tokens() -> None:
    cost = cost_of_a_running_engine()
    took = [learned(cost, 1, TOKEN * (1 + step / 10))[0] for step in range(20)]
    assert max(took) < 0.30
    assert took[-1] == pytest.approx(0.25, rel=0.1)


def test_decodes_that_were_never_seen_alone_are_made_up_for() -> None:
    cost = StepCost(0.25)
    cost.learn(0, 512, 512 * TOKEN)
    assert learned(cost, 8)[-1] == pytest.approx(0.25, rel=0.01)


def test_one_stall_is_forgotten_soon() -> None:
    cost = cost_of_a_running_engine()
    usual = cost.fitting(4096)
    cost.learn(32, usual, 60.0)
    assert cost.fitting(4096) >= usual // 4
    learned(cost, 4)
    assert cost.fitting(4096) == pytest.approx(usual, rel=0.05)
    cost.learn(32, 0, 60.0)
    assert cost.fitting(4096) >= usual // 2


def test_prompts_come_on_however_long_decodes_take() -> None:
    cost = cost_of_a_running_engine(most_seconds=0.01)
    assert TOKEN * cost.fitting(4096) == pytest.approx(DECODES / 2, rel=0.05)
    assert cost.fitting(0) == 0
    slow = StepCost(0.01)
    slow.learn(0, 1, 100.0)
    assert slow.fitting(4096) == 1


def test_without_a_limit_or_without_knowledge_chunks_are_whole() -> None:
    assert cost_of_a_running_engine(most_seconds=0).fitting(4096) == 4096
    assert StepCost(0.25).fitting(4096) == 4096


@pytest.mark.parametrize("depth", [1, 2])
def test_running_answers_never_stall(depth: int) -> None:
    """A clock that runs as fast as the device says: the gap between two tokens is the length of a step."""

    def seconds(plan: StepPlan) -> float:
        return 0.02 + 0.001 * len(rows_of(plan)) + 0.001 * sum(row.count for row in rows_of(plan) if row.count > 1)

    schedule = ScheduleConfig(max_running=8, max_queued=None, step_tokens=256, max_step_seconds=0.1, depth=depth)
    harness = Harness(pages=400, context=1000, schedule=schedule, seconds=seconds)
    running = [request(str(number), range(20 + number), 60, ignore_eos=True) for number in range(4)]
    harness.add(*running)
    for _ in range(5):
        harness.turn()
    assert tokens_of(harness.plans[0]) == 86  # nobody ran: all that there was
    late = [request(f"late {number}", [(number + place) % 40 for place in range(500)], 2) for number in range(2)]
    harness.add(*late)
    harness.run()
    mixed = [
        plan for plan in harness.plans[5:] if any(row.count > 1 for row in rows_of(plan)) and len(rows_of(plan)) > 1
    ]
    assert len(mixed) > 10
    assert max(map(seconds, mixed)) <= 0.11
    assert min(map(seconds, mixed[:-2])) >= 0.08, "chunks are as long as they may be"
    for asked in running + late:
        assert harness.outcomes[asked.id].said == alone(asked, 1000).said
