"""Keys and values kept in 8 bits: what is computed with them, how far they may be off, and the same bits as ever."""

import pytest
import torch
from msgspec import structs
from torch import Tensor

from stemma.device.attention.backend import ATTENTION
from stemma.device.kv.pool import KVPool
from tests.bodies import BODIES, NATIVE, Body
from tests.conformance.test_attention import Text, mixed_steps, run, spec_of
from tests.conformance.test_shared_pages import TAILS, family, last_ones
from tests.spans import Span, together

SPEC = spec_of(4, 2, (0, 50))


def kept(x_TKH: Tensor) -> Tensor:
    """What a cache of 8 bits gives back: multiples of the largest / 127."""
    most = x_TKH.abs().amax(-1, keepdim=True)
    return torch.round(x_TKH * most.new_tensor(127).div(most)) * (most / 127)


@pytest.mark.parametrize("body", BODIES, ids=str)
@pytest.mark.parametrize("page_size", [16, 8])
def test_answers_are_those_of_rounded_keys_and_values(body: Body, page_size: int) -> None:
    text = Text(SPEC, 301, 1, torch.float32)
    found = run(body, SPEC, [text], [[(0, 250)], [(0, 50)], [(0, 1)]], page_size, 0, torch.int8)
    exact = [text.expected(window) for window in SPEC.windows]
    text.k, text.v = kept(text.k), kept(text.v)
    for layer, window in enumerate(SPEC.windows):
        torch.testing.assert_close(found[layer][0], text.expected(window).float(), atol=4e-5, rtol=1e-4)
        assert (found[layer][0] - exact[layer]).abs().max() < 0.15  # of answers up to about 6


@pytest.mark.parametrize("body", NATIVE, ids=str)
@pytest.mark.parametrize("page_size", [16, 8])
def test_rows_of_bfloat16_lose_no_more_than_their_answers_rounding(body: Body, page_size: int) -> None:
    """Queries and shares become numbers of 16 bits where they meet those of 8: finer than bfloat16."""
    text = Text(SPEC, 301, 1, torch.bfloat16)
    found = run(body, SPEC, [text], [[(0, 250)], [(0, 50)], [(0, 1)]], page_size, 0, torch.int8)
    text.k, text.v = kept(text.k.float()), kept(text.v.float())
    for layer, window in enumerate(SPEC.windows):
        torch.testing.assert_close(found[layer][0].double(), text.expected(window), atol=6e-4, rtol=2**-8)


@pytest.mark.parametrize("body", NATIVE, ids=str)
def test_no_sum_of_a_wide_head_overflows(body: Body) -> None:
    """Every product is as large as it may be: the first key draws all, the second nothing."""
    spec = structs.replace(spec_of(1, 1, (0,)), head_dim=640)
    ones, signs = torch.ones(2, 1, 640, dtype=torch.bfloat16), torch.tensor([1, -1]).view(2, 1, 1)
    backend = ATTENTION[body.attention](spec, KVPool(spec, 2, 16, torch.int8), body.kernels)
    plan = backend.plan(together([Span(0, 2, torch.tensor([1]))]))
    found = backend.forward(ones, ones * signs, ones * signs, 0, torch.arange(16, 18), plan)
    torch.testing.assert_close(found, ones)


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_an_error_is_at_most_half_a_scale(body: Body) -> None:
    """One key is seen by one query: the answer is the value that was kept. Zeros stay zeros."""
    spec = spec_of(2, 2, (1,))
    text = Text(spec, 40, 3, torch.float32)
    text.v[7] = 0
    text.v[8] *= 1e6
    found = run(body, spec, [text], [[(0, 40)]], 16, 0, torch.int8)[0][0]
    error, scale = (found - text.v).abs(), text.v.abs().amax(-1, keepdim=True) / 127
    assert (error <= scale * 0.50001).all()
    assert (found[7] == 0).all()
    text.v[39, 0, 3] = torch.nan
    assert run(body, spec, [text], [[(0, 40)]], 16, 0, torch.int8)[0][0][39, 0].isnan().all()


@pytest.mark.parametrize("body", NATIVE, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_query_has_the_same_bits_in_any_company(body: Body, dtype: torch.dtype) -> None:
    spec, lengths = spec_of(3, 1, (0, 37)), (400, 131, 9, 1)
    texts = [Text(spec, length, seed, dtype) for seed, length in enumerate(lengths)]
    alone = [run(body, spec, [text], [[(0, len(text.q))]], 16, 0, torch.int8) for text in texts]
    generator = torch.Generator().manual_seed(5)
    for threads, page_size in ((1, 7), (2, 128)):
        torch.set_num_threads(threads)
        crowd = run(body, spec, texts, list(mixed_steps(lengths, generator)), page_size, page_size, torch.int8)
        for layer in range(spec.layers):
            for at in range(len(texts)):
                assert torch.equal(crowd[layer][at], alone[at][layer][0]), (threads, page_size, layer, at)


@pytest.mark.parametrize("body", NATIVE, ids=str)
def test_shared_pages_change_no_bits(body: Body) -> None:
    texts = family((0,), torch.bfloat16)
    alone = [run(body, spec_of(3, 1, (0,)), [text], [[(0, len(text.q))]], 16, 0, torch.int8) for text in texts]
    torch.set_num_threads(2)
    found = last_ones(body, texts, (0,), 16, 3, torch.int8)
    for at, tail in enumerate(TAILS):
        assert torch.equal(found[0][at], alone[at][0][0][-min(3, tail) :])


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_what_others_left_in_a_page_does_not_matter(body: Body) -> None:
    text, pool = Text(SPEC, 21, 0, torch.float32), KVPool(SPEC, 4, 16, torch.int8)
    for store in (*pool.keys, *pool.values):
        store[: pool.null_slot] = -1  # as a scale: not a number
    plan = (backend := ATTENTION[body.attention](SPEC, pool, body.kernels)).plan(
        together([Span(0, 21, torch.tensor([2, 1]))])
    )
    slots = torch.cat([torch.arange(32, 48), torch.arange(16, 21)])
    found = backend.forward(text.q, text.k, text.v, 0, slots, plan)
    text.k, text.v = kept(text.k), kept(text.v)
    torch.testing.assert_close(found, text.expected(0).float(), atol=4e-5, rtol=1e-4)
