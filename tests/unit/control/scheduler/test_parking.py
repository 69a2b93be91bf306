"""Those who wait for a grammar: others run, order is kept, and every end is one."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from stemma.control.grammar.matcher import Matcher
from stemma.control.scheduler.parking import Parking
from stemma.core.config.engine import ScheduleConfig
from stemma.core.types.grammar import Grammar
from stemma.core.types.output import Finish
from stemma.core.types.request import Abort
from tests.fake_grammar import ListCompiler, listed, text_of
from tests.scheduler_harness import STOP_IDS, VOCAB_SIZE, Harness, request

SLOW, QUICK = listed("abcd", "abef"), listed("{ab}", "{cd}")


class Bench:
    """A harness whose grammars are ready when a test says so."""

    def __init__(self, **limits: int):
        self.held: list[Grammar] = []
        self.compiler = ListCompiler(lambda grammar: grammar in self.held)
        self.parking = Parking(self.compiler, False, VOCAB_SIZE, STOP_IDS)
        schedule = ScheduleConfig(**({"max_running": 8, "max_queued": None, "step_tokens": 64} | limits))  # type: ignore[arg-type]  # keys are fields
        self.harness = Harness(parking=self.parking, schedule=schedule)

    def finish(self, id: str) -> Finish | None:
        return self.harness.outcomes[id].finish


def test_others_run_while_one_waits() -> None:
    bench = Bench()
    bench.held = [SLOW]
    bench.harness.add(request("slow", [1], 9, grammar=SLOW), request("quick", [1], 9, grammar=QUICK))
    bench.harness.add(request("free", [1], 9, ignore_eos=True))
    for _ in range(12):
        bench.harness.turn()
    assert bench.finish("quick") == Finish(reason="stop") and bench.finish("free") == Finish(reason="length")
    assert bench.finish("slow") is None and not bench.harness.outcomes["slow"].tokens
    assert bench.harness.scheduler.stats().waiting == 1 and not bench.harness.scheduler.can_plan
    bench.held = []
    bench.harness.run()
    assert bench.finish("slow") == Finish(reason="stop")
    assert text_of(bench.harness.outcomes["slow"].tokens) in ("abcd", "abef")


def test_who_is_free_never_comes_near_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks are made for the one row that draws under a grammar; where none does, a step waits for none."""
    bench = Bench()
    filled: list[int] = []
    fill = bench.compiler.fill_masks

    def counted(matchers: Sequence[Matcher], words_NW: NDArray[np.uint32]) -> None:
        filled.append(len(matchers))
        fill(matchers, words_NW)

    monkeypatch.setattr(bench.compiler, "fill_masks", counted)
    free = [request(f"{at}", [1, at], 20, ignore_eos=True) for at in range(7)]
    bench.harness.add(*free, request("bound", [2], grammar=listed("abcdef", "abcd", "abab"), min_new_tokens=2))
    bench.harness.run()
    masked = [plan for plan in bench.harness.plans if plan.is_masked]
    assert filled == [1] * len(masked) and 2 <= len(masked) <= 7
    assert len(bench.harness.plans) >= 20
    bench.harness.add(*(msgspec.structs.replace(each, id=f"{each.id} again") for each in free))
    bench.harness.run()
    assert len(filled) == len(masked) == sum(plan.is_masked for plan in bench.harness.plans)


def test_who_came_first_is_seated_first() -> None:
    bench = Bench(max_running=1)
    bench.held = [SLOW]
    bench.harness.add(request("0", [1], 9, ignore_eos=True), request("1", [1], 9, grammar=SLOW))
    bench.harness.add(request("2", [1], 9, ignore_eos=True))
    bench.harness.turn()
    bench.held = []
    while bench.finish("1") is None:
        bench.harness.turn()
    assert bench.finish("0") and not bench.harness.outcomes["2"].tokens
    bench.harness.run()


def test_an_abort_is_heard_while_it_waits() -> None:
    bench = Bench()
    bench.held = [SLOW]
    bench.harness.add(request("slow", [1], grammar=SLOW))
    bench.harness.turn()
    bench.harness.scheduler.abort(Abort(id="slow", reason="left"))
    bench.harness.listen(bench.harness.scheduler.drain())
    assert bench.finish("slow") == Finish(reason="abort")
    assert not bench.harness.scheduler.has_work
    bench.held = []
    bench.harness.run()


def test_what_cannot_be_compiled_is_refused_before_a_word_was_said() -> None:
    bench = Bench()
    bench.harness.add(request("none", [1], grammar=listed()), request("free", [1], 2, ignore_eos=True))
    bench.harness.run()
    assert bench.finish("none") == Finish(reason="error", code=400, detail="ebnf: no answer matches")
    assert bench.harness.outcomes["none"].tokens == [] and bench.finish("free") == Finish(reason="length")


def test_without_a_compiler_every_grammar_is_refused() -> None:
    harness = Harness()
    harness.add(request("a", [1], grammar=QUICK))
    harness.run()
    finish = harness.outcomes["a"].finish
    assert finish is not None and finish.code == 400 and "--grammar-backend" in str(finish.detail)


def test_an_output_that_does_not_match_is_refused() -> None:
    bench = Bench()
    bench.harness.add(request("a", [1], grammar=QUICK, output=[0, 1]))
    bench.harness.run()
    finish = bench.finish("a")
    assert finish is not None and finish.code == 400 and "does not match" in str(finish.detail)


def test_the_parked_count_as_waiting() -> None:
    bench = Bench(max_queued=1)
    bench.held = [SLOW]
    bench.harness.add(request("slow", [1], grammar=SLOW), request("free", [1], 2))
    bench.harness.turn()
    assert bench.finish("free") == Finish(reason="abort", code=503, detail="The request queue is full.")
    bench.held = []
    bench.harness.run()


@pytest.mark.parametrize("is_held", [False, True])
def test_the_compiler_is_closed_with_the_engine(is_held: bool) -> None:
    bench = Bench()
    bench.held = [SLOW] if is_held else []
    bench.harness.add(request("slow", [1], grammar=SLOW))
    bench.harness.turn()
    bench.harness.scheduler.close()
    assert bench.compiler.is_closed
