"""Attention in Triton against a float64 softmax, and against itself in other company."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from stemma.device.attention.triton import Geometry, TritonAttention, TritonPlan, geometry_of
from stemma.device.kv.pool import KVPool
from tests.bodies import Body
from tests.conformance import test_attention as suite
from tests.conformance.test_attention import WIDTH, Text, mixed_steps, spec_of
from tests.conformance.test_int8_cache import kept
from tests.spans import Span, together

BODY = Body("reference", "triton")
SMALL = Geometry(block=16, least_split=16, splits_per_octave=2, programs=3, states=1 << 13, tiles_at_once=4)
WHOLE = replace(SMALL, programs=1, states=0)
SPREAD = replace(SMALL, programs=9, wide_tile=128)
DTYPES = [torch.float32, torch.bfloat16]

Found = list[list[Tensor]]  # by layer and text


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> "Run":
    return Run(monkeypatch)


class Run:
    """The suite's driver, for kernels of any geometry."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self._patch = monkeypatch

    def __call__(
        self,
        geometry: Geometry,
        windows: tuple[int, ...],
        texts: list[Text],
        steps: list[list[tuple[int, int]]],
        page_size: int = 16,
        heads: tuple[int, int] = (3, 1),
        kv_dtype: torch.dtype | None = None,
    ) -> Found:
        self._patch.setattr(suite, "ATTENTION", {"triton": partial(TritonAttention, geometry=geometry)})
        return suite.run(BODY, spec_of(*heads, windows), texts, steps, page_size, 0, kv_dtype)


@pytest.mark.parametrize("heads", [(3, 1), (20, 1), (2, 2)])
def test_answers_are_those_of_a_float64_softmax(run: Run, heads: tuple[int, int]) -> None:
    windows = (0, 37)
    texts = [Text(spec_of(*heads, windows), length, length, torch.float32) for length in (150, 3)]
    found = run(Geometry(), windows, texts, [[(1, 2), (0, 140)], [(0, 9), (1, 1)], [(0, 1)]], heads=heads)
    for layer, window in enumerate(windows):
        for at, text in enumerate(texts):
            torch.testing.assert_close(found[layer][at], text.expected(window).float(), atol=2e-5, rtol=1e-4)


def test_a_query_has_the_same_bits_in_any_company(run: Run) -> None:
    """Alone or in a crowd, at once or in chunks, in tiles of any size, cut into splits or not, on pages of any size."""
    lengths, windows = (60, 21, 1), (0, 37)
    texts = [Text(spec_of(3, 1, windows), length, seed, torch.bfloat16) for seed, length in enumerate(lengths)]
    alone = [run(WHOLE, windows, [text], [[(0, len(text.q))]]) for text in texts]
    for geometry, page_size in ((SMALL, 7), (SPREAD, 64)):
        steps = list(mixed_steps(lengths, torch.Generator().manual_seed(page_size)))
        crowd = run(geometry, windows, texts, steps, page_size)
        for layer in range(len(windows)):
            for at in range(len(texts)):
                assert torch.equal(crowd[layer][at], alone[at][layer][0]), (page_size, layer, at)


@pytest.mark.parametrize(("states", "fits"), [(1 << 13, True), (100, False)])
def test_shared_pages_change_no_bits(states: int, fits: bool) -> None:
    """Rows of a few queries that begin with the same pages, runs of them and some in between that do not."""
    common, size = [5, 9, 1, 3], 16
    rows = [
        (70, 1, [*common, 10]),
        (75, 2, [*common, 11]),
        (66, 3, [*common, 12]),
        (20, 1, [20, 21]),
        (64, 1, [*common[:3], 40, 41]),
        (66, 1, [*common[:3], 42, 43]),
        (70, 22, [*common, 30, 31]),  # too many queries to share
    ]
    spans = [Span(start, count, torch.tensor(pages)) for start, count, pages in rows]
    slots = [pages[at // size] * size + at % size for start, count, pages in rows for at in range(start, start + count)]

    def answer(geometry: Geometry) -> tuple[Tensor, TritonPlan]:
        generator = torch.Generator().manual_seed(0)
        pool = KVPool(spec_of(3, 1, (0,)), 64, size, torch.bfloat16)
        for store in (*pool.keys, *pool.values):
            store.copy_(torch.randn(store.shape, generator=generator))
        q, k, v = (torch.randn(len(slots), heads, WIDTH, generator=generator).bfloat16() for heads in (3, 1, 1))
        backend = TritonAttention(spec_of(3, 1, (0,)), pool, "triton", geometry)
        plan = backend.plan(together(spans))
        return backend.forward(q, k, v, 0, torch.tensor(slots), plan), plan

    found, plan = answer(replace(SPREAD, least_shared=32, states=states))
    assert plan.shared_R.tolist() == [0, 64, 64, 0, 0, 48, 0]
    alone_tiles = len(rows) + 1
    assert plan.works[0].counts[0] == alone_tiles + (2 if fits else 0)
    assert not plan.arrived_TN.any()
    assert torch.equal(found, answer(WHOLE)[0])


def test_rows_of_many_queries_have_wide_tiles() -> None:
    backend = TritonAttention(spec_of(4, 1, (0,)), KVPool(spec_of(4, 1, (0,)), 4, 16, torch.bfloat16), "triton", SPREAD)
    pages_RP = torch.zeros(2, 4, dtype=torch.int32)
    for tokens, tile, programs in ((2, 64, 9), (32, 64, 9), (33, 128, 4)):
        plan = backend.static_plan(2, tokens, pages_RP)
        assert (plan.tile, len(plan.works[0].programs_X4)) == (tile, programs)
    assert [geometry_of(128, torch.bfloat16, torch.device(name)).wide_tile for name in ("meta", "cpu")] == [128, 0]


def test_answers_in_16_bits_are_near(run: Run) -> None:
    text = Text(spec_of(4, 2, (0,)), 150, 0, torch.bfloat16)
    found = run(Geometry(), (0,), [text], [[(0, 149)], [(0, 1)]], heads=(4, 2))[0][0].double()
    expected = text.expected(0)
    assert (found - expected).norm() <= 5e-3 * expected.norm()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_keys_and_values_in_8_bits(run: Run, dtype: torch.dtype) -> None:
    text = Text(spec_of(3, 1, (0,)), 70, 1, dtype)
    found = run(SMALL, (0,), [text], [[(0, 60)], [(0, 10)]], kv_dtype=torch.int8)[0][0].double()
    text.k, text.v = kept(text.k.float()), kept(text.v.float())
    expected = text.expected(0)
    assert (found - expected).norm() <= (1e-5 if dtype == torch.float32 else 5e-3) * expected.norm()
