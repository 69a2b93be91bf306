"""How near is attention to the machine's limits? Heads of Qwen3-0.6B (16 queries, 8 keys, 128 wide), bfloat16.

    python -m benchmarks.attention [threads] [kernels] [types of the cache]

One line for each case and type of the cache, which take turns: milliseconds of a layer (median), bytes of keys and
values that must be read at least once and the bandwidth that this makes beside that of the same run, and the rate of
arithmetic. Layers take turns, so that no cache holds what was read before; `plan_us` is what a step's plan costs, once
for all layers.
"""

import sys
from collections.abc import Sequence
from itertools import product
from statistics import median
from typing import NamedTuple, cast

import torch

from benchmarks.facts import report
from benchmarks.native_ops import seconds
from stemma.core.base.numbers import ceil_div
from stemma.core.config.device import runnable
from stemma.core.config.engine import Kernels
from stemma.core.config.machine import probe
from stemma.core.config.model import ModelSpec, RopeSpec, kv_bytes_per_token
from stemma.core.types.step import pack_spans
from stemma.device.attention.backend import ATTENTION, Spans
from stemma.device.kv.pool import KVPool

HEADS, KV_HEADS, WIDTH, PAGE = 16, 8, 128, 16
LAYERS = 3
CACHE_TOKENS = 40_000


class Case(NamedTuple):
    """`rows` rows compute `new` tokens behind `context`, of which the first `shared` are the same pages."""

    name: str
    rows: int
    context: int
    new: int = 1
    shared: int = 0

    @property
    def keys(self) -> int:
        return self.shared + self.rows * (self.context + self.new - self.shared)

    @property
    def flops(self) -> int:
        return 4 * HEADS * WIDTH * self.rows * self.new * (2 * self.context + self.new + 1) // 2


CASES = (
    Case("decode", 1, 600),
    Case("decode", 1, 32_000),
    Case("decode", 32, 260),
    Case("decode", 32, 1_100),
    Case("decode, shared prefix", 32, 1_100, shared=1_024),
    Case("prefill", 1, 0, 512),
    Case("prefill", 1, 0, 4_096),
    Case("prefill, cached prefix", 1, 4_096, 512),
    Case("prefill, shared prefix", 8, 1_024, 64, shared=1_024),
)


def spec_of(layers: int) -> ModelSpec:
    return ModelSpec(
        architecture="Qwen3ForCausalLM",
        model_type="qwen3",
        vocab_size=8,
        hidden=1024,
        layers=layers,
        heads=HEADS,
        kv_heads=KV_HEADS,
        head_dim=WIDTH,
        intermediate=3072,
        norm_eps=1e-6,
        rope=RopeSpec(),
        max_context=40_960,
        windows=(0,) * layers,
        tied=True,
    )


def spans_of(case: Case) -> Spans:
    end = case.context + case.new
    dealt = torch.randperm(CACHE_TOKENS // PAGE, generator=torch.Generator().manual_seed(0))
    shared, own = case.shared // PAGE, ceil_div(end, PAGE) - case.shared // PAGE
    tables = [
        torch.cat([dealt[:shared], dealt[shared + row * own : shared + (row + 1) * own]]) for row in range(case.rows)
    ]
    packed = pack_spans(word for row in range(case.rows) for word in (row, case.context, case.new, 0))
    return Spans(packed, torch.stack(tables).numpy())


def measured(case: Case, pool: KVPool, kernels: Kernels) -> tuple[float, float, float]:
    """Seconds of a layer, and of a plan; the best bandwidth between the runs."""
    large = torch.ones(1 << 26)
    backend, spans = ATTENTION["paged"](spec_of(LAYERS), pool, kernels), spans_of(case)
    q, k, v = (torch.randn(case.rows * case.new, heads, WIDTH).bfloat16() for heads in (HEADS, KV_HEADS, KV_HEADS))
    places = torch.arange(case.context, case.context + case.new)
    slots = torch.cat([table[places // PAGE] * PAGE + places % PAGE for table in torch.from_numpy(spans.pages_RP)])
    plan = backend.plan(spans)
    planned = median(seconds(lambda: backend.plan(spans)) for _ in range(50))
    runs, bandwidths = [], []
    for turn in range(5):
        bandwidths.append(large.nbytes / min(seconds(large.sum) for _ in range(2)) / 1e9)
        for layer in range(LAYERS):
            took = seconds(lambda layer=layer: backend.forward(q, k, v, layer, slots, plan))  # type: ignore[misc]
            runs += [took] if turn else []  # the first turn warms up
    return median(runs), planned, max(bandwidths)


def main(threads: int, kernels: Kernels, kv_dtypes: Sequence[str]) -> None:
    torch.set_num_threads(threads)
    spec = spec_of(LAYERS)
    pools = {each: KVPool(spec, CACHE_TOKENS // PAGE, PAGE, getattr(torch, each)) for each in kv_dtypes}
    for pool in pools.values():
        for store in (*pool.keys, *pool.values):
            store.fill_(63)  # memory that nobody wrote to is none yet; as bytes of a scale: 0.75
    for case, (kv_dtype, pool) in product(CASES, pools.items()):
        took, planned, bandwidth = measured(case, pool, kernels)
        size = case.keys * kv_bytes_per_token(spec, kv_dtype) / LAYERS
        report(
            "attention",
            case=case.name,
            kernels=kernels,
            kv_dtype=kv_dtype,
            threads=threads,
            rows=case.rows,
            context=case.context,
            new=case.new,
            ms=round(took * 1e3, 3),
            plan_us=round(planned * 1e6, 1),
            megabytes=round(size / 1e6, 2),
            gigabytes_per_second=round(size / took / 1e9, 1),
            read_limit=round(bandwidth, 1),
            gigaflops=round(case.flops / took / 1e9),
        )


if __name__ == "__main__":
    best = runnable(probe())[0]
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 1,
        cast(Kernels, sys.argv[2]) if len(sys.argv) > 2 else best,
        sys.argv[3:] or ["bfloat16"],
    )
