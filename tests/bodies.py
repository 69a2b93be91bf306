"""All bodies of the ops that this machine can run: each is held to the same tests."""

from dataclasses import dataclass

import torch

from stemma.core.config.device import runnable
from stemma.core.config.engine import Attention, Kernels
from stemma.core.config.machine import probe


@dataclass(frozen=True)
class Body:
    """A set of kernels and the attention that goes with them."""

    kernels: Kernels
    attention: Attention

    def __str__(self) -> str:
        return self.kernels

    @property
    def is_native(self) -> bool:
        return self.kernels != "reference"

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        return (torch.float32, torch.bfloat16) if self.is_native else (torch.float32, torch.bfloat16, torch.float16)

    def computes(self, dtype: str) -> bool:
        return getattr(torch, dtype) in self.dtypes


_MACHINE = probe()
_KERNELS = runnable(_MACHINE)
if "avx512_bf16" in _KERNELS and "amx" not in _KERNELS:
    _KERNELS.append("amx")  # on tiles that are spelled out: ops/cpu/tiles.h
NATIVE = [] if _MACHINE.cannot_build else [Body(kernels, "paged") for kernels in _KERNELS]
BODIES = [Body("reference", "reference"), *NATIVE]
