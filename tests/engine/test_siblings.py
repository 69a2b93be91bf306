"""Requests that come together and begin alike compute their beginning once: counted where the model runs."""

from pathlib import Path

import pytest

from stemma.core.types.sampling import SamplingParams
from stemma.device.layers.batch import ForwardBatch
from stemma.device.worker.inputs import forward_batch
from tests.checkpoints import tiny_checkpoint
from tests.engine_harness import DrivenEngine, engine_config, request

PAGE, SIBLINGS, OWN, OUTPUT = 16, 8, 5, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"), "LlamaForCausalLM")


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of every forward pass."""
    counts: list[int] = []

    def counted(*arguments: object) -> ForwardBatch:
        batch = forward_batch(*arguments)  # type: ignore[arg-type]  # handed through
        counts.append(len(batch.tokens_T))
        return batch

    monkeypatch.setattr("stemma.device.worker.worker.forward_batch", counted)
    return counts


@pytest.mark.parametrize("common", [64, 65, 72, 79])
@pytest.mark.parametrize("step_tokens", [32, 256])
def test_a_common_beginning_is_computed_once(folder: Path, executed: list[int], common: int, step_tokens: int) -> None:
    """To the last token, also where it ends inside a page."""
    engine = DrivenEngine(engine_config(folder, page_size=PAGE, step_tokens=step_tokens, pages=128))
    beginning = [position * 7 % 251 for position in range(common)]
    sampling = SamplingParams(max_new_tokens=OUTPUT, temperature=0.0, ignore_eos=True, sampling_seed=0)
    siblings = [request(f"{n}", [*beginning, *range(n, n + OWN)], sampling) for n in range(SIBLINGS)]
    told = engine.run(siblings)
    assert all(len(outcome.tokens) == OUTPUT for outcome in told.values())
    # The token that is drawn last is told, not computed.
    assert engine.stats().computed_tokens == sum(executed)
    assert sum(executed) == common + SIBLINGS * (OWN + OUTPUT - 1)
    alone = DrivenEngine(engine_config(folder, page_size=PAGE, step_tokens=256, pages=128, radix=False))
    assert {id: outcome.tokens for id, outcome in told.items()} == {
        id: outcome.tokens for one in siblings for id, outcome in alone.run([one]).items()
    }
