"""What programs share is computed once: counted by the tokens that the device ran the model on."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import stemma as sgl
from stemma.front.lang.state import ProgramState
from tests.checkpoints import tiny_checkpoint

PREFIX = "A thousand tokens, each a letter, that all have in common. " * 17
COMMON, OUTPUT = 1000, 5
PREFIX = PREFIX[:COMMON]


@pytest.fixture(scope="module", params=[16, 8])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sgl.Engine]:
    """Every letter is a token. Pages of 8 end where the prefix ends, those of 16 in their middle: all is the same."""
    folder = tiny_checkpoint(tmp_path_factory.mktemp("tiny"), max_position_embeddings=2048)
    size = {"max_total_tokens": 32_768, "context_length": 2048, "page_size": request.param}
    with sgl.Engine(model_path=str(folder), threads=1, **size) as made:
        yield made


def computed(engine: sgl.Engine, run: Callable[[], object]) -> int:
    """Tokens that the device computes for what `run` does, with an empty cache before it."""

    def total() -> int:
        return int(engine.get_server_info()["internal_states"][0]["computed_tokens"])

    assert engine.flush_cache()
    before = total()
    run()
    return total() - before


@sgl.function
def tips(s: Any) -> None:
    s += PREFIX
    forks = s.fork(8)
    forks += lambda index: f"Tip {index}:" + sgl.gen("tip", max_tokens=OUTPUT, ignore_eos=True)
    forks.join()


@sgl.function
def shots(s: Any, question: str) -> None:
    s += PREFIX
    s += question + sgl.gen("answer", max_tokens=OUTPUT, ignore_eos=True)


@sgl.function
def choice(s: Any) -> None:
    s += PREFIX + sgl.select("best", [f"{digit} is it" for digit in range(10)])


def test_a_fork_computes_its_beginning_once(engine: sgl.Engine) -> None:
    own = len("0:") + OUTPUT - 1  # the token that is drawn last is told, not computed
    assert computed(engine, lambda: tips.run(backend=engine).text()) == COMMON + len("Tip ") + 8 * own


def test_a_batch_computes_its_beginning_once(engine: sgl.Engine) -> None:
    questions = [{"question": f"Q{digit}?"} for digit in range(8)]
    own = len("0?") + OUTPUT - 1
    # The beginning is a request of its own, before the others; what some of these compute, others may find.
    batch = computed(engine, lambda: shots.run_batch(questions, backend=engine))
    assert COMMON + len("Q") + 8 * own <= batch <= COMMON + 8 * (len("Q") + own)


def test_ten_options_are_scored_behind_one_text(engine: sgl.Engine) -> None:
    """The log-probability of an option's first token needs the last of the text computed for each."""
    start = COMMON - 2
    own = COMMON - start + len("0 is it")
    expected = COMMON + len("0 is it") + 9 * own
    assert computed(engine, lambda: choice.run(backend=engine).text()) == expected


def test_what_was_said_is_found_in_the_cache(engine: sgl.Engine) -> None:
    """A random model says bytes that are no text, and no tokenizer would give back."""

    @sgl.function
    def chat(s: Any) -> None:
        s += PREFIX + sgl.gen("a", max_tokens=40, ignore_eos=True)
        s += " and " + sgl.gen("b", max_tokens=40, stop=["e", "\n"], ignore_eos=True)
        s += "; " + sgl.gen("c", max_tokens=2, ignore_eos=True)

    states: list[ProgramState] = []

    def run() -> None:
        states.append(chat.run(backend=engine, temperature=2.0, stream=len(states) % 2 == 1))
        states[-1].sync()

    for _ in range(4):
        total = computed(engine, run)
        a, b, c = (states[-1].get_meta_info(name) for name in "abc")
        assert b["prompt_tokens"] == COMMON + 40 + len(" and ")
        assert b["cached_tokens"] == COMMON + 39
        is_cut = b["finish_reason"]["type"] == "stop"
        said = b["completion_tokens"] - is_cut  # without the token that the stop string cut off
        assert c["prompt_tokens"] == b["prompt_tokens"] + said + len("; ")
        known = b["prompt_tokens"] + said - (not is_cut)  # nobody needed what follows the token that was drawn last
        assert c["cached_tokens"] >= known
        new = sum(each["prompt_tokens"] - each["cached_tokens"] + each["completion_tokens"] - 1 for each in (b, c))
        in_vain = total - (a["prompt_tokens"] + 39 + new)
        assert in_vain == 0 or (is_cut and in_vain > 0)  # a stop string is found when the next step is under way
    assert any("\ufffd" in state["a"] for state in states)
