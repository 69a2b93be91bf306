"""Rows that begin with the same pages, and rows too long for one part: the bits are those of each row alone."""

from collections.abc import Sequence
from itertools import accumulate

import pytest
import torch
from torch import Tensor

from stemma.core.base.numbers import ceil_div
from stemma.device.attention.backend import ATTENTION
from stemma.device.kv.pool import KVPool
from tests.bodies import NATIVE, Body
from tests.conformance.test_attention import PAGES, Text, run, spec_of
from tests.spans import Span, together

FAMILY = (352, 160)  # tokens that all texts begin with; tokens that the first half of them goes on with
TAILS = (1, 17, 70, 129, 5, 33, 64)

every_body = pytest.mark.parametrize(
    ("body", "dtype"), [(body, dtype) for body in NATIVE for dtype in body.dtypes], ids=str
)


def family(spec_windows: tuple[int, ...], dtype: torch.dtype) -> list[Text]:
    """Texts that begin alike: keys, values and queries too."""
    spec, texts = spec_of(3, 1, spec_windows), []
    for at, tail in enumerate(TAILS):
        starts = FAMILY if at < len(TAILS) // 2 else FAMILY[:1]
        text = Text(spec, sum(starts) + tail, 100 + at, dtype)
        for seed, (begin, length) in enumerate(zip(accumulate(starts, initial=0), starts, strict=False)):
            like = Text(spec, length, seed, dtype)
            for name in "qkv":
                getattr(text, name)[begin : begin + length] = getattr(like, name)
        texts.append(text)
    return texts


def tables(texts: Sequence[Text], page_size: int) -> list[Tensor]:
    """Each text's pages; what texts have in common, in whole pages, is the same pages."""
    free = torch.randperm(PAGES, generator=torch.Generator().manual_seed(page_size))
    found: dict[bytes, int] = {}

    def page(text: Text, at: int) -> int:
        end = (at + 1) * page_size
        key = text.k[:end].float().numpy().tobytes() if end < len(text.k) else bytes([len(found)]) + b"own"
        return found.setdefault(key, int(free[len(found)]))

    return [torch.tensor([page(text, at) for at in range(ceil_div(len(text.q), page_size))]) for text in texts]


def last_ones(
    body: Body,
    texts: Sequence[Text],
    windows: tuple[int, ...],
    page_size: int,
    count: int,
    kv_dtype: torch.dtype | None = None,
) -> list[list[Tensor]]:
    """Answers of the last `count` tokens of every text, computed in one step, by layer and text."""
    spec = spec_of(3, 1, windows)
    pool = KVPool(spec, PAGES, page_size, kv_dtype or texts[0].q.dtype)
    backend = ATTENTION[body.attention](spec, pool, body.kernels)
    pages, counts = tables(texts, page_size), [min(count, tail) for tail in TAILS]
    before = [(at, len(text.q) - new) for at, (text, new) in enumerate(zip(texts, counts, strict=True))]
    for step in [[(at, 0, end)] for at, end in before] + [[(at, end, len(texts[at].q)) for at, end in before]]:
        spans = [Span(begin, end - begin, pages[at]) for at, begin, end in step]
        places = [(at, torch.arange(begin, end)) for at, begin, end in step]
        slots = torch.cat([pages[at][p // page_size] * page_size + p % page_size for at, p in places])
        q, k, v = (torch.cat([getattr(texts[at], name)[p] for at, p in places]) for name in "qkv")
        plan = backend.plan(together(spans))
        answers = [backend.forward(q, k, v, layer, slots, plan) for layer in range(spec.layers)]
    return [list(torch.split(answer, counts)) for answer in answers]


@every_body
@pytest.mark.parametrize("page_size", [16, 8, 128])
def test_shared_pages_change_no_bits(body: Body, dtype: torch.dtype, page_size: int) -> None:
    windows = (0, 300)
    texts = family(windows, dtype)
    alone = [run(body, spec_of(3, 1, windows), [text], [[(0, len(text.q))]], 16, 0) for text in texts]
    for threads, count in ((1, 1), (2, 1), (1, 9), (2, 40)):
        torch.set_num_threads(threads)
        found = last_ones(body, texts, windows, page_size, count)
        for layer in range(len(windows)):
            for at in range(len(texts)):
                part = found[layer][at]
                assert torch.equal(part, alone[at][layer][0][-len(part) :]), (threads, count, layer, at)


@every_body
def test_a_long_row_has_the_same_bits_on_any_number_of_threads(body: Body, dtype: torch.dtype) -> None:
    spec = spec_of(4, 1, (0, 2500))
    text = Text(spec, 4300, 0, dtype)
    steps = [[(0, 4290)], *[[(0, 1)]] * 4, [(0, 6)]]
    alone = run(body, spec, [text], steps, 16, 0)
    torch.set_num_threads(2)
    spread = run(body, spec, [text], steps, 16, 1)
    for layer, window in enumerate(spec.windows):
        assert torch.equal(spread[layer][0], alone[layer][0])
        if dtype == torch.float32:
            expected = text.expected(window).float()
            torch.testing.assert_close(spread[layer][0], expected, atol=2e-5, rtol=1e-4)
