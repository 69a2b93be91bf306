"""The benchmark of programs: what could be found in a cache, and that every workload runs."""

from random import Random

import pytest

from benchmarks.programs.optimum import Asked, findable
from benchmarks.programs.workloads import WORKLOADS
from tests.unit.front.lang.fakes import FakeBackend


def by_comparison(requests: list[Asked]) -> int:
    """The same without a trie: each prompt beside all that was there before it."""
    found, known = 0, list[list[int]]()
    for asked in requests:
        most = 0
        for other in known:
            same = 0
            while same < min(len(asked.prompt) - 1, len(other)) and asked.prompt[same] == other[same]:
                same += 1
            most = max(most, same)
        found += most
        known.append([*asked.prompt, *asked.output[:-1]])
    return found


def test_what_can_be_found_is_what_stood_there_before() -> None:
    first = Asked([1, 2, 3], [4, 5], 0)
    assert findable([first]) == 0
    assert findable([first, first]) == 2  # the last token of a prompt is always computed
    assert findable([first, Asked([1, 2, 3, 4, 5, 6], [], 0)]) == 4  # and the last of an answer is not
    assert findable([first, Asked([1, 9, 3], [], 0), Asked([1, 9, 3, 3], [], 0)]) == 1 + 3
    chance = Random(0)
    for _ in range(50):
        requests = [
            Asked(chance.choices(range(2), k=chance.randrange(1, 9)), chance.choices(range(2), k=3), 0)
            for _ in range(12)
        ]
        assert findable(requests) == by_comparison(requests)


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_runs_and_says_the_same_each_time(name: str) -> None:
    texts = []
    for _ in range(2):
        workload = WORKLOADS[name](Random(name))
        states = workload.program.run_batch(workload.arguments[:2], backend=FakeBackend(), num_threads=1)
        assert [state.error() for state in states] == [None, None]
        texts.append([state.text() for state in states])
    assert texts[0] == texts[1] and texts[0][0] != texts[0][1]
