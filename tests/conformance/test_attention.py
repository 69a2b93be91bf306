"""Every attention backend against a float64 softmax, and against itself in other company."""

import math
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from stemma.core.base.numbers import ceil_div
from stemma.core.config.engine import LIBRARIES
from stemma.core.config.model import ModelSpec, RopeSpec
from stemma.device.attention.backend import ATTENTION
from stemma.device.kv.pool import KVPool
from tests.bodies import BODIES, Body
from tests.spans import Span, together

WIDTH = 20
PAGES = 512


def spec_of(heads: int, kv_heads: int, windows: tuple[int, ...]) -> ModelSpec:
    return ModelSpec(
        architecture="LlamaForCausalLM",
        model_type="llama",
        vocab_size=8,
        hidden=8,
        layers=len(windows),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=WIDTH,
        intermediate=8,
        norm_eps=1e-6,
        rope=RopeSpec(),
        max_context=4096,
        windows=windows,
        tied=True,
    )


class Text:
    """Queries, keys and values of one sequence, for every layer the same."""

    def __init__(self, spec: ModelSpec, length: int, seed: int, dtype: torch.dtype):
        generator = torch.Generator().manual_seed(seed)

        def draw(heads: int) -> Tensor:
            return (2 * torch.randn(length, heads, WIDTH, generator=generator)).to(dtype)

        self.q, self.k, self.v = draw(spec.heads), draw(spec.kv_heads), draw(spec.kv_heads)

    def expected(self, window: int) -> Tensor:
        """Softmax attention in float64, all at once."""
        q, k, v = (x.double().transpose(0, 1) for x in (self.q, self.k, self.v))
        k, v = (x.repeat_interleave(len(q) // len(x), 0) for x in (k, v))
        score = q @ k.transpose(1, 2) / math.sqrt(WIDTH)
        place = torch.arange(score.shape[-1])
        distance = place.unsqueeze(1) - place
        hidden = (distance < 0) | (distance >= window) if window else distance < 0
        return (score.masked_fill(hidden, -math.inf).softmax(-1) @ v).transpose(0, 1)


def run(
    body: Body,
    spec: ModelSpec,
    texts: Sequence[Text],
    steps: Sequence[Sequence[tuple[int, int]]],
    page_size: int,
    seed: int,
    kv_dtype: torch.dtype | None = None,
) -> list[list[Tensor]]:
    """Feeds the texts in steps of (text, count); answers per layer and text. Pages are dealt in a random order."""
    pool = KVPool(spec, PAGES, page_size, kv_dtype or texts[0].q.dtype)
    for store in (*pool.keys, *pool.values):
        store[: pool.null_slot].fill_(7)  # what former owners left behind
    backend = ATTENTION[body.attention](spec, pool, body.kernels)
    free = torch.randperm(PAGES, generator=torch.Generator().manual_seed(seed))
    first, tables = 0, []
    for text in texts:
        pages = ceil_div(len(text.q), page_size)
        tables.append(free[first : first + pages])
        first += pages
    done = [0] * len(texts)
    out: list[list[list[Tensor]]] = [[[] for _ in texts] for _ in range(spec.layers)]
    for step in steps:
        spans = [Span(done[at], count, tables[at][: ceil_div(done[at] + count, page_size)]) for at, count in step]
        places = [torch.arange(span.start, span.start + span.count) for span in spans]
        slots = torch.cat(
            [tables[at][p // page_size] * page_size + p % page_size for (at, _), p in zip(step, places, strict=True)]
        )
        q, k, v = (
            torch.cat([getattr(texts[at], x)[p] for (at, _), p in zip(step, places, strict=True)]) for x in "qkv"
        )
        plan = backend.plan(together(spans))
        for layer in range(spec.layers):
            answer = backend.forward(q, k, v, layer, slots, plan)
            for (at, _), part in zip(step, torch.split(answer, [count for _, count in step]), strict=True):
                out[layer][at].append(part)
        for at, count in step:
            done[at] += count
    return [[torch.cat(parts) for parts in layer] for layer in out]


@pytest.mark.parametrize("body", BODIES, ids=str)
@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (4, 2), (3, 1), (7, 1), (20, 1), (6, 6)])
def test_attention_agrees_with_a_float64_softmax(body: Body, heads: int, kv_heads: int) -> None:
    windows = (0, 50, 1100)
    spec = spec_of(heads, kv_heads, windows)
    texts = [Text(spec, 1200, 1, torch.float32), Text(spec, 3, 2, torch.float32)]
    steps = [[(1, 2), (0, 700)], [(0, 498), (1, 1)], [(0, 1)], [(0, 1)]]
    found = run(body, spec, texts, steps, page_size=16, seed=0)
    for layer, window in enumerate(windows):
        for at, text in enumerate(texts):
            torch.testing.assert_close(found[layer][at], text.expected(window).float(), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("body", "dtype"), [(body, dtype) for body in BODIES for dtype in body.dtypes], ids=str)
def test_a_query_has_the_same_bits_in_any_company(body: Body, dtype: torch.dtype) -> None:
    spec = spec_of(3, 1, (0, 37))
    lengths = (1100, 131, 40, 9, 1)
    texts = [Text(spec, length, seed, dtype) for seed, length in enumerate(lengths)]
    alone = [run(body, spec, [text], [[(0, len(text.q))]], 16, 0) for text in texts]
    generator = torch.Generator().manual_seed(5)
    for threads, page_size in ((1, 7), (2, 1024)):
        torch.set_num_threads(threads)
        crowd = run(body, spec, texts, list(mixed_steps(lengths, generator)), page_size, seed=page_size)
        for layer in range(spec.layers):
            for at in range(len(texts)):
                assert torch.equal(crowd[layer][at], alone[at][layer][0]), (threads, page_size, layer, at)


def mixed_steps(lengths: Sequence[int], generator: torch.Generator) -> Iterator[list[tuple[int, int]]]:
    """Random chunks of random texts, many of them single tokens, until all is computed."""
    left = list(lengths)
    while any(left):
        step = []
        for at in torch.randperm(len(left), generator=generator).tolist():
            longest = (1, 1, 50, 500)[int(torch.randint(4, (), generator=generator))]
            count = min(left[at], 1 + int(torch.randint(longest, (), generator=generator)))
            if count:
                step.append((at, count))
                left[at] -= count
        yield step


@pytest.mark.parametrize("body", BODIES, ids=str)
def test_what_others_left_in_a_page_does_not_matter(body: Body) -> None:
    """Not even a NaN: a page keeps the values of its former owner past the end of its new one."""
    spec = spec_of(4, 2, (0,))
    text = Text(spec, 21, 0, torch.float32)
    pool = KVPool(spec, 4, 16, torch.float32)
    pool.keys[0][: pool.null_slot] = math.nan
    pool.values[0][: pool.null_slot] = math.inf
    backend = ATTENTION[body.attention](spec, pool, body.kernels)
    plan = backend.plan(together([Span(0, 21, torch.tensor([2, 1]))]))
    slots = torch.cat([torch.arange(32, 48), torch.arange(16, 21)])
    found = backend.forward(text.q, text.k, text.v, 0, slots, plan)
    torch.testing.assert_close(found, text.expected(0).float(), atol=2e-5, rtol=1e-4)


def test_every_backend_is_tested() -> None:
    assert {body.attention for body in BODIES} | {"triton", *LIBRARIES} == set(ATTENTION.names())  # tests/triton
