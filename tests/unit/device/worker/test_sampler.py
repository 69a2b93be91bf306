"""A row's token and bits, wherever it stands among the logits of a slice; and logits that are not finite."""

import math
import random
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np
import pytest
import torch
from msgspec import structs
from torch import Tensor

from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.core.types.step import Masks, Seat, StepResult
from stemma.core.types.tokens import pack, unpack
from stemma.device.ops.cpu.library import load
from stemma.device.ops.reference.inputs import inputs
from stemma.device.worker.native_sampler import NativeSampler
from stemma.device.worker.pending import settled
from stemma.device.worker.rows import RowTable
from stemma.device.worker.sampler import Sampler, TorchSampler, is_finite
from tests.bodies import NATIVE
from tests.plans import RowPlan, RowResult, plan_of, results_of

KINDS = [
    SamplingParams(temperature=0.0),
    SamplingParams(temperature=0.7, sampling_seed=3),
    SamplingParams(top_k=30, top_p=0.8, sampling_seed=-4),
    SamplingParams(min_p=0.02, frequency_penalty=0.6, repetition_penalty=1.1, sampling_seed=9),
]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def results(
    logits_SV: Tensor, seats: list[Seat], masks: Mapping[int, bytes] = MappingProxyType({})
) -> tuple[RowResult, ...]:
    """What is drawn for seat i from row i of the logits, of which its mask, if it has one, leaves some."""
    table = RowTable(rows=8, context=64, page_size=1, vocab_size=logits_SV.shape[1])
    plan = plan_of(0, (RowPlan(seat.row, 0, len(unpack(seat.tokens)), (), True) for seat in seats), tuple(seats))
    table.apply(plan)
    reader = inputs(table.tables, 0)
    places = reader.read(plan.spans).drawn
    native: list[Sampler] = [NativeSampler(load(body.kernels), table, seed=0) for body in NATIVE]
    found = []
    for sampler in [TorchSampler(table, seed=0), *native]:
        for one in seats:
            sampler.sit(one.row, table[one.row])
        packed = Masks(tuple(seats[at].row for at in masks), b"".join(masks.values()))
        verdict = sampler.drawn(places, logits_SV.clone(), packed)
        tokens, findings = settled(reader.keep([verdict.tokens_S]), [verdict], [])
        found.append(results_of(plan, StepResult(step=0, tokens=tokens, findings=findings)))
    for other in found[1:]:
        assert_equal_but_for_roundings(other, found[0])
        assert other == found[1]  # whatever the instructions
    return found[-1]


def assert_equal_but_for_roundings(found: tuple[RowResult, ...], expected: tuple[RowResult, ...]) -> None:
    assert [row.tokens for row in found] == [row.tokens for row in expected]
    for own, other in zip(found, expected, strict=True):
        for logprob, wanted in zip(own.logprobs, other.logprobs, strict=True):
            assert [token for token, _ in logprob.top] == [token for token, _ in wanted.top]
            for values, right in (
                ((logprob.logprob,), (wanted.logprob,)),
                (logprob.chosen, wanted.chosen),
                (dict(logprob.top).values(), dict(wanted.top).values()),
            ):
                assert list(values) == pytest.approx(list(right), abs=2e-5)


def seat(row: int, sampling: SamplingParams, spec: LogprobSpec | None, tokens: list[int]) -> Seat:
    pages = tuple(range(len(tokens)))
    return Seat(row=row, tokens=pack(tokens), prompt_len=1, pages=pages, sampling=sampling, logprobs=spec)


@pytest.mark.parametrize("width", [1, 80, 100, 517, 4097, 40_001])
def test_the_place_of_a_row_never_shows(width: int) -> None:
    logits_SV = torch.randn(7, width, generator=torch.Generator().manual_seed(width)) * 4
    seats = [
        seat(
            row, KINDS[row % 4], LogprobSpec(top=4, token_ids=(0, width - 1)), [i * 31 % width for i in range(5 + row)]
        )
        for row in range(7)
    ]
    torch.set_num_threads(1)
    expected = results(logits_SV, seats)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        order = random.Random(threads).sample(range(7), 7)
        assert results(logits_SV[order], [seats[at] for at in order]) == tuple(expected[at] for at in order)
        assert tuple(results(logits_SV[at : at + 1], [seats[at]])[0] for at in range(7)) == expected


@pytest.mark.parametrize("width", [1, 7, 517, 40_001])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_found_wherever_it_stands(width: int, value: float) -> None:
    for at in {0, 3 % width, width // 2, width - 1}:
        logits_SV = torch.randn(3, width)
        logits_SV[1, at] = value
        assert is_finite(logits_SV).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "sampling", [SamplingParams(temperature=0.0, min_new_tokens=3), SamplingParams(min_new_tokens=3)]
)
def test_a_row_of_which_every_token_is_banned_says_so(sampling: SamplingParams) -> None:
    """A grammar allows the stop token only, which is too early; then nothing at all. Rows beside it go on."""
    seats = [structs.replace(seat(row, sampling, None, [1, 2, 3]), stop_ids=(9,)) for row in range(3)]
    stop, nothing = ((1 << 9).to_bytes(4, "little") + bytes(8)), bytes(12)
    found = results(torch.randn(3, 96), seats, {0: stop, 1: nothing})
    for row in found[:2]:
        assert row.fault is not None and "every token is banned at position 3" in row.fault and not row.tokens
    assert found[2].fault is None and found[2].tokens


def test_ties_go_to_the_lowest_id() -> None:
    logits_SV = torch.zeros(1, 3000)
    logits_SV[:, [2999, 17, 1200]] = 5.0
    for sampling in (
        SamplingParams(temperature=0.0),
        SamplingParams(top_k=1),
        SamplingParams(top_k=1, min_new_tokens=1),
    ):
        (result,) = results(logits_SV, [seat(0, sampling, LogprobSpec(top=5), [1])])
        assert result.tokens == (17,)
        assert [token for token, _ in result.logprobs[0].top] == [17, 1200, 2999, 0, 1]


def test_a_wide_range_of_logits_does_not_overflow() -> None:
    sampling = SamplingParams(temperature=1e-6, sampling_seed=1)
    (result,) = results(torch.tensor([[3e38, -3e38, 0.0]]), [seat(0, sampling, LogprobSpec(), [1])])
    assert result.tokens == (0,)
    assert result.logprobs[0].logprob == 0.0


@pytest.mark.parametrize("width", [33, 517, 4097])
def test_a_masked_row_draws_what_it_would_draw_were_the_others_not_there(width: int) -> None:
    logits_SV = torch.randn(8, width, generator=torch.Generator().manual_seed(width)) * 4
    allowed_SV = torch.rand(8, width, generator=torch.Generator().manual_seed(1)) < 0.1
    allowed_SV[:, width - 1] = True
    seats = [seat(row, KINDS[row % 4], LogprobSpec(top=2), [row + 1, row + 2]) for row in range(8)]
    free = results(logits_SV, seats)
    without_SV = torch.where(allowed_SV, logits_SV, torch.tensor(-1e30))
    alone = [results(without_SV[at : at + 1], [seats[at]])[0] for at in range(8)]
    masks = {at: words(allowed_SV[at]) for at in (0, 1, 2, 3, 6)}
    found = results(logits_SV, seats, masks)
    for at in range(8):
        if at not in masks:
            assert found[at] == free[at]
        else:
            assert found[at].tokens == alone[at].tokens and allowed_SV[at, found[at].tokens[0]]
            assert found[at].logprobs[0].logprob == alone[at].logprobs[0].logprob


def words(allowed_V: Tensor) -> bytes:
    """Bit t % 32 of word t // 32, spelled out."""
    packed = [0] * (len(allowed_V) // 32 + 1)
    for token in allowed_V.nonzero().flatten().tolist():
        packed[token // 32] |= 1 << token % 32
    return np.array(packed, "<u4").tobytes()
