"""The ops that layers call, each a name with bodies.

The plain-torch reference of every op is always there and judges the others. A faster body has the same signature,
lives in a file of its own, and is entered in _BODIES.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from stemma.core.base.registry import Registry

_REFERENCE = "stemma.device.ops.reference"
_BODIES: dict[str, dict[str, str]] = {
    "embed": {"reference": f"{_REFERENCE}.embed:embed"},
    "linear": {"reference": f"{_REFERENCE}.linear:linear"},
    "rms_norm": {"reference": f"{_REFERENCE}.norm:rms_norm"},
    "add_rms_norm": {"reference": f"{_REFERENCE}.norm:add_rms_norm"},
    "rotate": {"reference": f"{_REFERENCE}.rope:rotate"},
    "gated": {"reference": f"{_REFERENCE}.activation:gated"},
}


@dataclass(slots=True, frozen=True)
class Ops:
    """The bodies in use, chosen once at start."""

    embed: Callable[[Tensor, Tensor], Tensor]
    linear: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    rms_norm: Callable[[Tensor, Tensor, float], Tensor]
    add_rms_norm: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
    rotate: Callable[[Tensor, Tensor, Tensor], Tensor]
    gated: Callable[[Tensor, str], Tensor]


def bodies(op: str) -> Registry[Callable[..., Any]]:
    """All bodies of an op."""
    return Registry(f"body of the op {op!r}", _BODIES[op])


def reference_ops() -> Ops:
    return Ops(**{op.name: bodies(op.name)["reference"] for op in fields(Ops)})
