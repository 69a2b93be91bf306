"""The native functions as Python calls them: a plain C interface, addresses as integers."""

import ctypes
from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import dtype

from stemma.core.config.engine import Kernels
from stemma.device.ops.cpu.build import build

Function = Callable[..., None]

_Kind = type[ctypes.c_void_p] | type[ctypes.c_long] | type[ctypes.c_float] | type[ctypes.c_int]
_KINDS: dict[str, _Kind] = {"p": ctypes.c_void_p, "n": ctypes.c_long, "f": ctypes.c_float, "t": ctypes.c_int}
_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


class Library:
    """All functions of one instruction set, by the type of their numbers where there are several."""

    def __init__(self, kernels: Kernels):
        self._opened = ctypes.CDLL(str(build(kernels)))
        self.pack = self._function("pack", "pnnt")
        self.embed = self._function("embed", "pppnnnt")
        self.linear = self._functions("linear", "ppppnnnt")
        self.add_rms_norm = self._functions("add_norm", "pppppnnft")
        self.norm_rotate = self._functions("norm_rotate", "pppppnnnnnnft")
        self.gated = self._functions("gated", "ppnnt")
        self.attend: Mapping[tuple[dtype, dtype], Function] = {
            (own, pool): self._function(f"attend_{_NAMES[own]}_{_NAMES[pool]}", "ppppppppp" + "nnnnnnnnnn" + "ft")
            for own in _NAMES
            for pool in _NAMES
        }

    def _functions(self, name: str, arguments: str) -> Mapping[dtype, Function]:
        return {own: self._function(f"{name}_{word}", arguments) for own, word in _NAMES.items()}

    def _function(self, name: str, arguments: str) -> Function:
        function = self._opened[name]
        function.argtypes = [_KINDS[kind] for kind in arguments]
        function.restype = None
        return function


@cache
def load(kernels: Kernels) -> Library:
    """The library of these kernels; a process opens it once."""
    return Library(kernels)
