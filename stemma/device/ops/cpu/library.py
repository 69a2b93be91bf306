"""The native functions as Python calls them: a plain C interface, addresses as integers.

A function is called, or, while a recording is made in this context, written down there.
"""

import ctypes
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from functools import cache
from typing import Protocol, get_args

import torch
from torch import Tensor, dtype

from stemma.core.config.engine import Kernels
from stemma.core.config.quant import Format
from stemma.device.ops.cpu.build import build

Argument = int | float | bytes | None
_Kind = type[ctypes.c_void_p] | type[ctypes.c_long] | type[ctypes.c_float] | type[ctypes.c_int]

# Addresses (None is null, bytes stand for their own), sizes, the number of rows of a step, float32, the number of
# threads, which comes last.
_KINDS: dict[str, _Kind] = {
    "p": ctypes.c_void_p,
    "n": ctypes.c_long,
    "r": ctypes.c_long,
    "f": ctypes.c_float,
    "t": ctypes.c_int,
}
_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
_POOL_NAMES = {**_NAMES, torch.int8: "int8"}  # of cached keys and values


class Recorder(Protocol):
    """Who is told of calls in place of the functions, and gives the memory that they speak of."""

    def add(self, function: "Function", arguments: Sequence[Argument]) -> None: ...

    def empty(self, shape: tuple[int, ...], dtype: dtype) -> Tensor: ...


RECORDER: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


class Function:
    """A native function of a library, and the kinds of its arguments.

    Tensors stand for their addresses. As many threads work as torch is told to use; nobody else names a number.
    """

    def __init__(self, library: "Library", name: str, kinds: str):
        self.library = library
        self.name = name
        self.kinds = kinds
        self._run = library.opened[name]
        self._run.argtypes = [_KINDS[kind] for kind in kinds]
        self._run.restype = None
        self._is_shared = kinds.endswith("t")

    def __call__(self, *given: Tensor | Argument) -> None:
        """Call it, or write it down."""
        arguments = [each.data_ptr() if isinstance(each, Tensor) else each for each in given]
        if self._is_shared:
            arguments.append(torch.get_num_threads())
        recorder = RECORDER.get()
        if recorder is None:
            self.run(*arguments)
        else:
            recorder.add(self, arguments)

    def run(self, *arguments: Argument) -> None:
        """Call it, with all that it takes: for calls that every step makes, which are never written down."""
        self.library.calls += 1
        self._run(*arguments)

    @property
    def replayed(self) -> int:
        """The address of what a replay calls in its place."""
        return ctypes.cast(self.library.opened[f"{self.name}_replayed"], ctypes.c_void_p).value or 0


class Library:
    """All functions of one instruction set, by the type of their numbers where there are several."""

    def __init__(self, kernels: Kernels):
        self.opened = ctypes.CDLL(str(build(kernels)))
        self.calls = 0  # made from Python so far
        self.replay = Function(self, "replay", "pnpnp")
        self.inputs = Function(self, "inputs", "ppn")
        self.keep = Function(self, "keep", "pnpn")
        self.lay = self._formats("lay", "ppnnnt")
        self.embed = self._formats("embed", "ppprnt")
        self.take = Function(self, "take", "ppprnt")
        self.linear = self._formats("linear", "pppprnnt")
        self.logits = self._formats("logits", "ppprnnt")
        self.add_rms_norm = self._typed("add_norm", "ppppprnft")
        self.norm_rotate = self._typed("norm_rotate", "pppppprnnnnnft")
        self.gated = self._typed("gated", "pprnnt")
        self.sample = Function(self, "sample", "prnpppt")
        self.score = Function(self, "score", "pnppnpppnpnt")
        self.plan_attention = Function(self, "plan_attention", "ppnt")
        self.attend: Mapping[tuple[dtype, dtype], Function] = {
            (own, pool): Function(self, f"attend_{_NAMES[own]}_{_POOL_NAMES[pool]}", "ppppppppr" + "n" * 9 + "ft")
            for own in _NAMES
            for pool in _POOL_NAMES
        }

    def _typed(self, name: str, kinds: str) -> Mapping[dtype, Function]:
        return {own: Function(self, f"{name}_{word}", kinds) for own, word in _NAMES.items()}

    def _formats(self, name: str, kinds: str) -> Mapping[tuple[Format, dtype], Function]:
        return {
            (format, own): Function(self, f"{name}_{format}_{word}", kinds)
            for format in get_args(Format)
            for own, word in _NAMES.items()
        }


@cache
def load(kernels: Kernels) -> Library:
    """The library of these kernels; a process opens it once."""
    return Library(kernels)


def empty(*shape: int, dtype: dtype) -> Tensor:
    """Memory for the answer of a function."""
    recorder = RECORDER.get()
    return torch.empty(shape, dtype=dtype) if recorder is None else recorder.empty(shape, dtype)
