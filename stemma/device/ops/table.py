"""The ops that layers call, each a name with bodies.

The plain-torch reference of every op is always there and judges the others. A native body has the same signature
behind the library that it calls. An op is entered in _PLACES, and its field in Ops.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from torch import Tensor

from stemma.core.base.registry import Registry
from stemma.core.config.engine import Kernels
from stemma.core.config.quant import Format
from stemma.device.ops.cpu.library import load
from stemma.device.ops.inputs import Reader, Tables
from stemma.device.ops.matrix import Matrix

_REFERENCE = "stemma.device.ops.reference"
_PLACES = {
    "inputs": f"{_REFERENCE}.inputs:inputs",
    "lay": f"{_REFERENCE}.linear:lay",
    "embed": f"{_REFERENCE}.linear:embed",
    "take": f"{_REFERENCE}.take:take",
    "linear": f"{_REFERENCE}.linear:linear",
    "logits": f"{_REFERENCE}.linear:logits",
    "add_rms_norm": f"{_REFERENCE}.norm:add_rms_norm",
    "norm_rotate": f"{_REFERENCE}.heads:norm_rotate",
    "gated": f"{_REFERENCE}.activation:gated",
    "gated_linear": f"{_REFERENCE}.activation:gated_linear",
}
_NATIVE = "stemma.device.ops.cpu.bodies"
_TRITON = "stemma.device.ops.triton"
_TRITON_PLACES = {
    "inputs": f"{_TRITON}.inputs:inputs",
    "lay": f"{_TRITON}.quantised:lay",
    "embed": f"{_TRITON}.rows:embed",
    "take": f"{_TRITON}.rows:take",
    "linear": f"{_TRITON}.linear:linear",
    "logits": f"{_TRITON}.linear:logits",
    "add_rms_norm": f"{_TRITON}.norm:add_rms_norm",
    "norm_rotate": f"{_TRITON}.heads:norm_rotate",
    "gated": f"{_TRITON}.gated:gated",
    "gated_linear": f"{_TRITON}.linear:gated_linear",
}
_QUANTISED_PLACES = {"add_rms_norm": f"{_TRITON}.norm:add_rms_norm_quantise"}
_LIBRARY_PLACES = {name: f"{_TRITON}.library:{name}" for name in ("linear", "gated_linear")}


@dataclass(slots=True, frozen=True)
class Ops:
    """The bodies in use, chosen once at start. A matrix is laid by the same that read it."""

    inputs: Callable[[Tables, int], Reader]
    lay: Callable[[Matrix, int, Tensor], None]
    embed: Callable[[Tensor, Matrix], Tensor]
    take: Callable[[Tensor, Tensor], Tensor]
    linear: Callable[[Tensor, Matrix, Tensor | None], Tensor]
    logits: Callable[[Tensor, Matrix], Tensor]
    add_rms_norm: Callable[[Tensor, Tensor | None, Tensor, float], tuple[Tensor, Tensor]]
    norm_rotate: Callable[[Tensor, Tensor | None, int, float, Tensor, Tensor, Tensor], Tensor]
    gated: Callable[[Tensor, str], Tensor]
    gated_linear: Callable[[Tensor, Matrix, Tensor | None, str], Tensor]


def ops_of(kernels: Kernels, format: Format = "plain", is_deterministic: bool = True) -> Ops:
    """The bodies of every op. Raises ConfigError when native ones cannot be built here.

    The norms of an accelerator's quantised model give rows of 8 bits, which only its matrices read.
    """
    if kernels in ("reference", "triton"):
        places = _PLACES
        if kernels == "triton":
            quantised = {} if format == "plain" else _QUANTISED_PLACES
            places = _PLACES | _TRITON_PLACES | quantised | ({} if is_deterministic else _LIBRARY_PLACES)
        table = Registry[Callable[..., Any]]("op", places)
        return Ops(**{op.name: table[op.name] for op in fields(Ops)})
    library = load(kernels)
    table = Registry("op", {op.name: f"{_NATIVE}:{op.name}" for op in fields(Ops)})
    return Ops(**{op.name: partial(table[op.name], library) for op in fields(Ops)})
