"""What launching a kernel depends on besides its arguments.

No driver is asked about the device "meta": what is given tensors there launches what would run on a Hopper GPU, or on
AMD's where torch was built for them, and whoever caught the launch can compile it (benchmarks/gpu/compiled.py).
"""

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

HOPPER = 9  # major capability: its successors have other matrix instructions
AMD_STAGES = 2


def early(x: Tensor) -> dict[str, bool]:
    """Arguments of a launch: whether it may begin while the kernel before it ends (programmatic dependent launch).

    Such a kernel calls `follow` before it reads what others wrote.
    """
    if _capability(x.device) >= HOPPER:
        return {"EARLY": True, "launch_pdl": True}
    return {"EARLY": False}


@triton.jit
def follow(EARLY: tl.constexpr):
    """Let the next kernel begin, and wait for the end of the one before."""
    if EARLY:
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()


@triton.jit
def read_ahead(address, bytes):
    """Have the near cache read from these addresses on, multiples of 16. On Hopper, ahead of `follow`."""
    tl.inline_asm_elementwise(
        "cp.async.bulk.prefetch.L2.global [$1], $2; mov.u32 $0, 0;",
        "=r,l,r",
        [address.to(tl.int64, bitcast=True), bytes],
        tl.int32,
        False,
        1,
    )


def stages(most: int) -> int:
    """Rounds of a loop that are on their way from memory at a time; AMD's shared memory holds few."""
    return most if torch.version.hip is None else min(most, AMD_STAGES)


def is_hopper(device: torch.device) -> bool:
    return _capability(device) == HOPPER


def _capability(device: torch.device) -> int:
    """The major one of NVIDIA's; 0 of all others."""
    if torch.version.hip is not None or device.type not in ("cuda", "meta"):
        return 0
    return HOPPER if device.type == "meta" else _asked(device)


@cache
def _asked(device: torch.device) -> int:
    return torch.cuda.get_device_capability(device)[0]
