"""FlashAttention and FlashInfer, which cannot run here: what they would be called with."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
import torch

from stemma.core.base.errors import ConfigError
from stemma.device.attention.backend import AttentionBackend
from stemma.device.kv.pool import KVPool
from tests.conformance.test_attention import spec_of
from tests.spans import Span, together

PAGE = 4
WINDOWS = (0, 6)
SPANS = [Span(8, 1, torch.tensor([3, 1, 2])), Span(0, 4, torch.tensor([7])), Span(2, 5, torch.tensor([5, 6]))]
BF16 = torch.bfloat16


class Wrapper:
    """FlashInfer's, that tells what it is given."""

    made: list["Wrapper"]

    def __init__(self, workspace: torch.Tensor, layout: str):
        assert (workspace.dtype, layout) == (torch.uint8, "NHD")
        self.made.append(self)

    def plan(self, *arguments: Any, **named: Any) -> None:
        self.planned = arguments, named

    def run(self, q: torch.Tensor, cache: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        self.given = cache
        return q + 1


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Modules that stand for the libraries; calls of FlashAttention land in the list."""
    found: list[dict[str, Any]] = []

    def attend(q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, **named: Any) -> torch.Tensor:
        found.append({"keys": keys, "values": values, **named})
        return q + 1

    flash, flashinfer = ModuleType("flash_attn_interface"), ModuleType("flashinfer")
    flash.flash_attn_with_kvcache = attend  # type: ignore[attr-defined]  # a stand-in
    Wrapper.made = []
    flashinfer.BatchPrefillWithPagedKVCacheWrapper = Wrapper  # type: ignore[attr-defined]  # a stand-in
    for module in (flash, flashinfer):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("flash", "flashinfer"):
        monkeypatch.delitem(sys.modules, f"stemma.device.attention.{name}", raising=False)
    return found


def backend(module: str, kind: str, dtype: torch.dtype = BF16) -> AttentionBackend:
    maker = getattr(import_module(f"stemma.device.attention.{module}"), kind)
    made: AttentionBackend = maker(spec_of(4, 2, WINDOWS), KVPool(spec_of(4, 2, WINDOWS), 8, PAGE, dtype), "triton")
    return made


def attend(made: AttentionBackend) -> torch.Tensor:
    """One step of all spans; returns what the first layer's keys should be."""
    plan, tokens = made.plan(together(SPANS)), sum(span.count for span in SPANS)
    slots = [
        int(span.pages[at // PAGE]) * PAGE + at % PAGE
        for span in SPANS
        for at in range(span.start, span.start + span.count)
    ]
    q, k, v = (torch.randn(tokens, heads, 20).to(BF16) for heads in (4, 2, 2))
    for layer in range(len(WINDOWS)):
        assert torch.equal(made.forward(q, k, v, layer, torch.tensor(slots), plan), q + 1)
    expected = torch.zeros(9 * PAGE, 2, 20, dtype=BF16)
    expected[slots] = k
    return expected.view(9, PAGE, 2, 20)


def test_flash_attention_is_given_pages_and_rows(calls: list[dict[str, Any]]) -> None:
    written = attend(backend("flash", "FlashAttention"))
    for call, window in zip(calls, [(-1, -1), (5, 0)], strict=True):
        assert torch.equal(call["keys"], written) and call["values"].shape == written.shape
        assert call["cu_seqlens_q"].tolist() == [0, 1, 5, 10] and call["max_seqlen_q"] == 5
        assert call["cache_seqlens"].tolist() == [9, 4, 7]
        assert call["page_table"].tolist() == [[3, 1, 2], [7, -1, -1], [5, 6, -1]]
        assert {call[name].dtype for name in ("cu_seqlens_q", "cache_seqlens", "page_table")} == {torch.int32}
        assert call["window_size"] == window and call["causal"]
        assert call["softmax_scale"] == pytest.approx(20**-0.5)


def test_flashinfer_is_given_pages_in_one_line(calls: list[dict[str, Any]]) -> None:
    written = attend(backend("flashinfer", "FlashInferAttention"))
    assert len(Wrapper.made) == len(WINDOWS)
    for wrapper, left in zip(Wrapper.made, (-1, 5), strict=True):
        (queries, pages, indices, last, *sizes), named = wrapper.planned
        assert queries.tolist() == [0, 1, 5, 10] and pages.tolist() == [0, 3, 4, 6]
        assert indices.tolist() == [3, 1, 2, 7, 5, 6] and last.tolist() == [1, 4, 3]
        assert {each.dtype for each in (queries, pages, indices, last)} == {torch.int32}
        assert sizes == [4, 2, 20, PAGE] and named["window_left"] == left and named["causal"]
        assert named["q_data_type"] == named["kv_data_type"] == BF16
        assert torch.equal(wrapper.given[0], written)


@pytest.mark.parametrize(("module", "kind"), [("flash", "FlashAttention"), ("flashinfer", "FlashInferAttention")])
def test_a_cache_of_other_types_is_refused(calls: list[dict[str, Any]], module: str, kind: str) -> None:
    with pytest.raises(ConfigError, match="take triton"):
        backend(module, kind, torch.float32)
