"""Every op at the shapes of the models: first right, against float32, then timed, beside what torch has for it.

Shapes: T rows of a step, I inputs, O outputs, D model width, J twice the width of a feed-forward layer, X heads.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from typing import Any, Protocol, cast, get_args

import msgspec
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu.stage import Stage, difference, forget, kernel_seconds, tell
from benchmarks.gpu.weights import folder_of
from stemma.core.config.engine import LIBRARIES
from stemma.core.config.families import read_model_spec
from stemma.core.config.model import ModelSpec, kv_bytes_per_token, matrix_shapes
from stemma.core.config.quant import Format, Quantization, row_bytes
from stemma.core.types.step import pack_spans
from stemma.device.attention.backend import ATTENTION, AttentionBackend, AttentionPlan, Spans
from stemma.device.attention.triton import TritonAttention
from stemma.device.kv.pool import KVPool
from stemma.device.layers.rope import Rotary
from stemma.device.ops.accelerated import step_ops
from stemma.device.ops.cpu.sampling import ASK
from stemma.device.ops.matrix import Matrix, empty_matrix
from stemma.device.ops.reference import int8
from stemma.device.ops.table import Ops, ops_of

ROWS = (1, 8, 64, 256, 8192)
HEAD_ROWS = 256  # the head sees no more
CACHE_BYTES = 120 << 20  # twice a Hopper's: what is read in turns does not fit
MOST_COPIES = 16
MOST_CACHE_BYTES = 12 << 30  # of keys and values in one case
LIMIT = 5e-3  # of the difference in bfloat16
BF16 = torch.bfloat16


class PlannedAttention(AttentionBackend, Protocol):
    """A library's, whose keys and values are in the pool already."""

    def attend(self, q_TNH: Tensor, layer: int, plan: AttentionPlan) -> Tensor: ...


@dataclass(frozen=True)
class Case:
    """One op at one shape. All that is called gets the same arguments, one tuple of `given` after the other."""

    op: str
    shape: str
    given: list[tuple[Any, ...]]
    run: Callable[..., Tensor]
    right: Callable[..., Tensor]
    peer: Callable[..., Tensor] | None  # torch's own
    bytes: int  # that must be moved
    flops: int = 0
    others: Mapping[str, Callable[..., Tensor]] = field(default_factory=dict)  # of libraries that are installed


def kernels(stage: Stage) -> None:
    """A result for each case; one that fails is told, and the next one follows."""
    ops, plain = ops_of(stage.kernels), ops_of("reference")
    rows = (1, 8) if stage.is_tiny else ROWS
    with torch.device(stage.device), torch.inference_mode():
        for model in stage.models:
            spec = read_model_spec(folder_of(stage, model))
            accelerated = (attention, draws) if stage.is_accelerated else ()
            for make in (matrices, norms, gates, heads, *accelerated, quantised):
                for case in make(ops, plain, spec, rows):
                    try:
                        _measure(stage, model, case)
                    except Exception as error:  # a kernel that does not compile must not hide the others
                        tell(case.op, model=model, shape=case.shape, error=f"{type(error).__name__}: {error}"[:500])
                    forget()


def _measure(stage: Stage, model: str, case: Case) -> None:
    off = difference(case.run(*case.given[0]), case.right(*case.given[0]))
    seconds, spread = kernel_seconds(stage, *(partial(case.run, *given) for given in case.given))
    peer = case.peer and kernel_seconds(stage, *(partial(case.peer, *given) for given in case.given))[0]
    tell(
        case.op,
        model=model,
        shape=case.shape,
        difference=off,
        is_right=off <= LIMIT,
        us=seconds * 1e6,
        spread_us=spread * 1e6,
        torch_us=None if peer is None else peer * 1e6,
        **{f"{name}_us": _others_us(stage, case, run) for name, run in case.others.items()},
        bytes=case.bytes,
        flops=case.flops,
    )


def _others_us(stage: Stage, case: Case, run: Callable[..., Tensor]) -> float | str:
    """Of a library's kernel; why not, if it fails."""
    try:
        off = difference(run(*case.given[0]), case.right(*case.given[0]))
        if off > LIMIT:
            return f"off by {off:.1e}"
        return kernel_seconds(stage, *(partial(run, *given) for given in case.given))[0] * 1e6
    except Exception as error:  # its affair
        return f"{type(error).__name__}: {error}"[:200]


def copies(bytes_each: int) -> int:
    return max(1, min(MOST_COPIES, CACHE_BYTES // max(1, bytes_each) + 1))


def matrices(ops: Ops, plain: Ops, spec: ModelSpec, rows: tuple[int, ...]) -> Iterator[Case]:
    """Every matrix of a layer, and the head. Torch's own is a library's: what it gains is what the same bytes cost."""

    def product(x_TI: Tensor, matrix: Matrix, weight_OI: Tensor) -> Tensor:
        return ops.linear(x_TI, matrix, None)

    def scores(x_TI: Tensor, matrix: Matrix, weight_OI: Tensor) -> Tensor:
        return ops.logits(x_TI, matrix)

    def gated(x_TI: Tensor, matrix: Matrix, weight_OI: Tensor) -> Tensor:
        return ops.gated_linear(x_TI, matrix, None, spec.activation)

    def right(x_TI: Tensor, matrix: Matrix, weight_OI: Tensor) -> Tensor:
        return x_TI.float() @ weight_OI.float().T

    def right_gated(x_TI: Tensor, matrix: Matrix, weight_OI: Tensor) -> Tensor:
        return plain.gated(right(x_TI, matrix, weight_OI), spec.activation)

    def peer(x_TI: Tensor, matrix: Matrix, weight_OI: Tensor) -> Tensor:
        return F.linear(x_TI, weight_OI)

    def peer_gated(x_TI: Tensor, matrix: Matrix, weight_OI: Tensor) -> Tensor:
        return ops.gated(F.linear(x_TI, weight_OI), spec.activation)

    for outputs, inputs in matrix_shapes(spec):
        is_head, is_gated = outputs == spec.vocab_size, outputs == 2 * spec.intermediate
        op, run = ("logits", scores) if is_head else ("gated_linear", gated) if is_gated else ("linear", product)
        laid = [matrix_of(ops, outputs, inputs) for _ in range(copies(2 * outputs * inputs))]
        for count in [count for count in rows if not is_head or count <= HEAD_ROWS]:
            x_TI = torch.randn(count, inputs, dtype=BF16)
            yield Case(
                op=op,
                shape=f"{count}x{inputs} @ {inputs}x{outputs}",
                given=[(x_TI, *each) for each in laid],
                run=run,
                right=right_gated if is_gated else right,
                peer=peer_gated if is_gated else peer,
                bytes=2 * inputs * (outputs + count) + (4 if is_head else 1 if is_gated else 2) * count * outputs,
                flops=2 * count * outputs * inputs,
            )


def quantised(ops: Ops, plain: Ops, spec: ModelSpec, rows: tuple[int, ...]) -> Iterator[Case]:
    """The matrices of a layer in fewer bits, against products of what their bits stand for; torch's own in 16 bits."""

    def run(x_TI: Tensor, matrix: Matrix, weight_OI: Tensor) -> Tensor:
        return ops.linear(x_TI, matrix, None)

    def right(x_TI: Tensor, matrix: Matrix, weight_OI: Tensor) -> Tensor:
        q_TI, scale_T1 = int8.quantise(x_TI.float())
        every_O = torch.arange(matrix.outputs)
        return (q_TI * scale_T1) @ ops.embed(every_O, replace(matrix, dtype=torch.float32)).T

    def peer(x_TI: Tensor, matrix: Matrix, weight_OI: Tensor) -> Tensor:
        return F.linear(x_TI, weight_OI)

    for format in get_args(Quantization):
        for outputs, inputs in [shape for shape in matrix_shapes(spec) if shape[0] != spec.vocab_size]:
            stored = outputs * row_bytes(format, inputs, "bfloat16")
            laid = [matrix_of(ops, outputs, inputs, format) for _ in range(copies(stored))]
            for count in rows[::2]:
                x_TI = torch.randn(count, inputs, dtype=BF16)
                yield Case(
                    op=f"linear, {format}",
                    shape=f"{count}x{inputs} @ {inputs}x{outputs}",
                    given=[(x_TI, *each) for each in laid],
                    run=run,
                    right=right,
                    peer=peer,
                    bytes=stored + 2 * count * (inputs + outputs),
                    flops=2 * count * outputs * inputs,
                )


def matrix_of(ops: Ops, outputs: int, inputs: int, format: Format = "plain") -> tuple[Matrix, Tensor]:
    weight_OI = torch.randn(outputs, inputs, dtype=BF16) / inputs**0.5
    matrix = empty_matrix(format, outputs, inputs, BF16)
    ops.lay(matrix, 0, weight_OI)
    return matrix, weight_OI


def norms(ops: Ops, plain: Ops, spec: ModelSpec, rows: tuple[int, ...]) -> Iterator[Case]:
    width, eps, weight_D = spec.hidden, spec.norm_eps, torch.rand(spec.hidden, dtype=BF16) + 0.5

    def run(x_TD: Tensor, skip_TD: Tensor) -> Tensor:
        return ops.add_rms_norm(x_TD, skip_TD, weight_D, eps)[0]

    def right(x_TD: Tensor, skip_TD: Tensor) -> Tensor:
        return plain.add_rms_norm((x_TD + skip_TD).float(), None, weight_D.float(), eps)[0]

    def peer(x_TD: Tensor, skip_TD: Tensor) -> Tensor:
        return F.rms_norm(x_TD + skip_TD, (width,), weight_D, eps)

    for count in rows:
        moved = 8 * count * width
        given = [torch.randn(2, count, width, dtype=BF16).unbind() for _ in range(copies(moved))]
        yield Case("add_rms_norm", f"{count}x{width}", given, run, right, peer, moved)


def gates(ops: Ops, plain: Ops, spec: ModelSpec, rows: tuple[int, ...]) -> Iterator[Case]:
    half = spec.intermediate

    def run(x_TJ: Tensor) -> Tensor:
        return ops.gated(x_TJ, spec.activation)

    def right(x_TJ: Tensor) -> Tensor:
        return plain.gated(x_TJ.float(), spec.activation)

    def peer(x_TJ: Tensor) -> Tensor:
        return F.silu(x_TJ[:, :half]) * x_TJ[:, half:]

    for count in rows:
        moved = 6 * count * half
        given = [(torch.randn(count, 2 * half, dtype=BF16),) for _ in range(copies(moved))]
        yield Case("gated", f"{count}x{2 * half}", given, run, right, peer, moved)


def heads(ops: Ops, plain: Ops, spec: ModelSpec, rows: tuple[int, ...]) -> Iterator[Case]:
    """Queries and keys, from their projection to attention."""
    turned, width, most = spec.heads + spec.kv_heads, spec.head_dim, max(rows)
    rotary, weight_2H = Rotary(spec, most), torch.rand(2 * width, dtype=BF16) + 0.5

    def run(x_TXH: Tensor) -> Tensor:
        angles = rotary.angles(positions_T[: len(x_TXH)])
        return ops.norm_rotate(x_TXH, weight_2H, spec.heads, spec.norm_eps, *angles)

    def right(x_TXH: Tensor) -> Tensor:
        angles = rotary.angles(positions_T[: len(x_TXH)])
        return plain.norm_rotate(x_TXH.float(), weight_2H.float(), spec.heads, spec.norm_eps, *angles)

    positions_T = torch.arange(most)
    for count in rows:
        moved = 4 * count * turned * width
        given = [(torch.randn(count, turned, width, dtype=BF16),) for _ in range(copies(moved))]
        yield Case("norm_rotate", f"{count}x{turned}x{width}", given, run, right, None, moved)


def attention(ops: Ops, plain: Ops, spec: ModelSpec, rows: tuple[int, ...]) -> Iterator[Case]:
    """One layer: decodes of many rows at several lengths, and whole prompts. Torch's own has no pages to look up."""
    layer = msgspec.structs.replace(spec, layers=1, windows=spec.windows[:1])
    is_tiny = max(rows) < HEAD_ROWS
    decodes = [(count, context, 1) for context in (1024, 8192, 32768) for count in (1, 8, 64, 256)]
    for count, context, queries in (
        ((2, 64, 1), (2, 32, 32)) if is_tiny else (*decodes, (1, 8192, 8192), (8, 1024, 1024))
    ):
        moved = count * context * kv_bytes_per_token(layer, "bfloat16")
        if moved <= MOST_CACHE_BYTES:
            yield _attention(layer, count, context, queries, moved)


def _attention(layer: ModelSpec, count: int, context: int, queries: int, moved: int) -> Case:
    pages = context // 16
    pool = KVPool(layer, count * pages, 16, BF16)
    for kept in (*pool.keys, *pool.values):
        kept.normal_()
    backend = cast(TritonAttention, ATTENTION["triton"](layer, pool, "triton"))
    pages_RP = torch.randperm(count * pages).view(count, pages).to(torch.int32)
    plan = backend.static_plan(count, count * queries, pages_RP)
    every = torch.arange(count, dtype=torch.int32)
    plan.spans_R3.copy_(
        torch.stack((torch.full_like(every, context - queries), torch.full_like(every, queries), every), 1)
    )
    backend.lay_out(plan)
    slots_RC = (pages_RP.long()[:, :, None] * 16 + torch.arange(16)).view(count, -1)
    k_RKCH, v_RKCH = (kept[0][slots_RC].transpose(1, 2).contiguous() for kept in (pool.keys, pool.values))

    def run(q_TNH: Tensor) -> Tensor:
        return backend.attend(q_TNH, 0, plan)

    def peer(q_TNH: Tensor) -> Tensor:
        return _whole(q_TNH, k_RKCH, v_RKCH)

    def right(q_TNH: Tensor) -> Tensor:
        every = zip(torch.split(q_TNH, queries), k_RKCH, v_RKCH, strict=True)
        return torch.cat([_whole(q.float(), k[None].float(), v[None].float()) for q, k, v in every])

    q_TNH = torch.randn(count * queries, layer.heads, layer.head_dim, dtype=BF16)
    return Case(
        op="attention",
        shape=f"{count} rows, {queries} of {context}",
        given=[(q_TNH,)],
        run=run,
        right=right,
        peer=peer,
        bytes=moved + 4 * q_TNH.numel(),
        flops=4 * q_TNH.numel() * (context if queries == 1 else context // 2),
        others=dict(_libraries(layer, pool, pages_RP, context - queries, queries)),
    )


def _libraries(
    layer: ModelSpec, pool: KVPool, pages_RP: Tensor, start: int, queries: int
) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Attention of those that are installed, planned ahead of its time."""
    packed = pack_spans(word for row in range(len(pages_RP)) for word in (row, start, queries, 0))
    spans = Spans(packed, np.array(pages_RP.tolist(), np.int64))
    for name, module in LIBRARIES.items():
        if find_spec(module):
            backend = cast(PlannedAttention, ATTENTION[name](layer, pool, "triton"))
            yield name, partial(backend.attend, layer=0, plan=backend.plan(spans))
    if find_spec("vllm") and find_spec("vllm.vllm_flash_attn"):
        yield "vllm_flash", partial(_vllm_flash, layer=layer, pool=pool, spans=spans, plans={})


def _vllm_flash(q_TNH: Tensor, layer: ModelSpec, pool: KVPool, spans: Spans, plans: dict[str, Tensor]) -> Tensor:
    """FlashAttention 3 as vLLM carries it."""
    from vllm.vllm_flash_attn import flash_attn_varlen_func  # type: ignore[import-not-found]  # carried, or not

    end_N, count_N = spans.start_N + spans.count_N, spans.count_N
    if not plans:
        ints = {
            "ends": end_N,
            "firsts": np.concatenate(([0], np.cumsum(count_N))),
            "pages": spans.pages_RP[spans.row_N],
        }
        plans.update({name: torch.from_numpy(found.astype(np.int32)).to(q_TNH.device) for name, found in ints.items()})
    shape = -1, pool.page_size, layer.kv_heads, layer.head_dim
    found: Tensor = flash_attn_varlen_func(
        q_TNH,
        pool.keys[0].view(shape),
        pool.values[0].view(shape),
        max_seqlen_q=int(count_N.max()),
        cu_seqlens_q=plans["firsts"],
        max_seqlen_k=int(end_N.max()),
        seqused_k=plans["ends"],
        block_table=plans["pages"],
        causal=True,
        fa_version=3,
    )
    return found


def _whole(q_TNH: Tensor, k_RKCH: Tensor, v_RKCH: Tensor) -> Tensor:
    """One query of a row sees all of its keys; many are a whole prompt."""
    q_RNQH = q_TNH.view(len(k_RKCH), -1, *q_TNH.shape[1:]).transpose(1, 2)
    is_causal = q_RNQH.shape[2] > 1
    out_RNQH = F.scaled_dot_product_attention(q_RNQH, k_RKCH, v_RKCH, is_causal=is_causal, enable_gqa=True)
    return out_RNQH.transpose(1, 2).reshape(q_TNH.shape)


def draws(ops: Ops, plain: Ops, spec: ModelSpec, rows: tuple[int, ...]) -> Iterator[Case]:
    """Tokens of the whole vocabulary: greedy ones, and draws from a nucleus. Right: the largest logit is drawn."""
    sample = step_ops().sample
    for name, wish in (("greedy", {"greedy": True}), ("top-p 0.9", {"top_p": 0.9})):
        for count in (1, 64, 256) if max(rows) >= HEAD_ROWS else (2,):
            asks = np.zeros(count, ASK)
            for key, value in {"divisor": 1, "repetition": 1, "top_p": 1.0, "top_k": -1, **wish}.items():
                asks[key] = value
            asks_SB = torch.from_numpy(asks.view(np.uint8).reshape(count, -1)).to(torch.get_default_device())
            logits_SV = torch.randn(count, spec.vocab_size) * 4
            if name != "greedy":
                logits_SV[:, 7] = 60.0  # beside it nobody has a chance

            def run(logits_SV: Tensor, asks_SB: Tensor = asks_SB) -> Tensor:
                return sample(logits_SV.clone(), asks_SB).tokens_S

            def right(logits_SV: Tensor) -> Tensor:
                return logits_SV.argmax(-1)

            yield Case(
                f"draw, {name}", f"{count}x{spec.vocab_size}", [(logits_SV,)], run, right, right, 12 * logits_SV.numel()
            )
