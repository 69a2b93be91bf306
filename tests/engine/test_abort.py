"""An abort is heard at any moment, and its pages are back two steps later."""

from pathlib import Path

import pytest

from stemma.core.types.control import AskStats, Flush, Hello, Reply
from stemma.core.types.request import Abort, Request
from stemma.core.types.sampling import SamplingParams
from tests.checkpoints import tiny_checkpoint
from tests.engine_harness import DrivenEngine, Idle, engine_config, request

LONG = SamplingParams(max_new_tokens=100, temperature=0.0, ignore_eos=True, sampling_seed=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"), "LlamaForCausalLM")


def long_request(id: str) -> Request:
    return request(id, list(range(len(id) * 40, len(id) * 40 + 40)), LONG)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("turns", range(8))
def test_pages_are_back_within_two_steps(folder: Path, depth: int, turns: int) -> None:
    """Aborted before it is seated, in the middle of its prompt, between its tokens."""
    engine = DrivenEngine(engine_config(folder, depth=depth, step_tokens=16))
    engine.channel.to_engine += [long_request("a"), long_request("bb")]
    for _ in range(turns):
        engine.turn()
    engine.channel.to_engine += [Abort(id="bb", reason="left"), Abort(id="nobody")]
    engine.turn()
    engine.turn()
    stats = engine.stats()
    assert stats.running == 1 and stats.waiting == 0
    (other,) = engine.loop.scheduler.seats.seated
    assert stats.used_pages == len(other.held.pages), "more is held than by the request that goes on"
    finish = engine.outcomes["bb"].finish
    assert finish is not None and finish.reason == "abort"
    outcome = engine.run([])["a"]
    assert outcome.finish is not None and outcome.finish.reason == "length"
    assert engine.stats().used_pages == 0


def test_a_stop_of_the_front_cuts_the_bill(folder: Path) -> None:
    engine = DrivenEngine(engine_config(folder))
    engine.channel.to_engine += [long_request("a")]
    for _ in range(12):
        engine.turn()
    engine.channel.to_engine += [Abort(id="a", reason="stop", keep=3, matched="\n")]
    engine.turn()
    outcome = engine.outcomes["a"]
    assert outcome.finish is not None and (outcome.finish.reason, outcome.finish.detail) == ("stop", "\n")
    assert outcome.usage.output == 3


def test_the_cache_is_flushed_when_idle_only(folder: Path) -> None:
    engine = DrivenEngine(engine_config(folder))
    said: list[object] = []
    engine.channel.send = lambda front, message: said.append(message) or True  # type: ignore[method-assign,func-returns-value]
    engine.channel.to_engine += [Hello(front=0), long_request("a"), Flush(id="1")]
    engine.turn()
    assert said[0] == engine.ready
    assert isinstance(said[1], Reply) and not said[1].ok and "running" in said[1].message
    engine.channel.to_engine += [Abort(id="a")]
    with pytest.raises(Idle):
        while True:
            engine.turn()
    assert engine.stats().cached_pages > 0
    engine.channel.to_engine += [Flush(id="2"), AskStats(id="3")]
    with pytest.raises(Idle):
        while True:
            engine.turn()
    flushed, told = said[-2:]
    assert isinstance(flushed, Reply) and flushed.ok
    assert isinstance(told, Reply) and told.stats is not None and told.stats.free_pages == told.stats.pages


def test_an_id_that_another_front_uses_is_refused(folder: Path) -> None:
    engine = DrivenEngine(engine_config(folder))
    said: list[tuple[int, object]] = []
    engine.channel.send = lambda front, message: said.append((front, message)) or True  # type: ignore[method-assign,func-returns-value]
    other = Request(id="a", tokens=long_request("a").tokens, sampling=LONG, reply_to=1)
    engine.channel.to_engine += [long_request("a"), other]
    with pytest.raises(Idle):
        while True:
            engine.turn()
    (refusal,) = [message for front, message in said if front == 1]
    assert "being served already" in str(refusal)
    assert "length" in str(said[-1])
