"""What launching a kernel depends on besides its arguments.

Nothing here asks a driver: a body that is given tensors on the device "meta" launches what would run on a Hopper GPU,
and whoever caught the launch can compile it (benchmarks/gpu/compiled.py).
"""

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

EARLY_CAPABILITY = (9, 0)  # from here on a kernel may be scheduled before the one ahead of it has ended

AMD_STAGES = 2


def early(x: Tensor) -> dict[str, bool]:
    """Arguments of a launch: whether it may begin while the kernel before it ends (programmatic dependent launch).

    Such a kernel calls `follow` before it reads what others wrote.
    """
    if x.device.type == "meta" or (x.device.type == "cuda" and _is_early(x.device)):
        return {"EARLY": True, "launch_pdl": True}
    return {"EARLY": False}


@triton.jit
def follow(EARLY: tl.constexpr):
    """Let the next kernel begin, and wait for the end of the one before."""
    if EARLY:
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()


def stages(x: Tensor, most: int) -> int:
    """Rounds of a loop that are on their way from memory at a time; AMD's shared memory holds few."""
    return min(most, AMD_STAGES) if x.device.type == "cuda" and torch.version.hip is not None else most


@cache
def _is_early(device: torch.device) -> bool:
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= EARLY_CAPABILITY
