"""Triton's interpreter, made right: it runs kernels on a CPU, and gets numbers of 16 and 8 bits silently wrong.

It holds a bfloat16 as the integer of its bits. What computes with them without a rounding of its own is refused here:
a kernel widens them first. Loads, stores, selections, casts and products are made to see numbers. Checked with
Triton 3.6. Set TRITON_INTERPRET=1 before Triton is imported, and install this before a kernel runs.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import torch
import triton.language as tl
from numpy.typing import NDArray
from triton.runtime import interpreter

Numbers = NDArray[Any]

_NARROW = {tl.bfloat16: torch.bfloat16, tl.float8e4nv: torch.float8_e4m3fn, tl.float8e5: torch.float8_e5m2}
INPUTS = 16  # of an instruction of matrix units, for numbers of 16 bits
_COMPUTING = ("binary_op", "unary_op", "create_fabs", "create_fma", "create_clampf")


def install() -> None:
    """Once per process."""
    builder = interpreter.InterpreterBuilder
    for name in _COMPUTING:
        setattr(builder, name, _refusing(getattr(builder, name)))
    builder.cast_impl = lambda self, source, target: _cast(source, target)
    builder.create_fp_to_fp = lambda self, source, target, rounding: _cast(source, target)
    builder.create_dot = _dot
    builder.create_fma = _refusing(_fused)
    reductions = interpreter.ReduceScanOpInterface
    reductions.check_tensor = _refusing(reductions.check_tensor)
    interpreter._patch_lang_tensor = _with_index(interpreter._patch_lang_tensor)
    # A launch patches what a kernel's module sees of the language, this what the language sees of itself: no need to do
    # so again for every call of a function.
    interpreter._patch_lang(tl.sum.fn)
    interpreter.InterpretedFunction.__call__ = lambda self, *arguments, **named: self.rewrite()(*arguments, **named)


def _wide(handle: Any) -> Numbers:
    """The numbers of a handle."""
    narrow = _NARROW.get(handle.dtype.scalar)
    numbers: Numbers = handle.data
    if narrow is None:
        return numbers
    signed = np.ascontiguousarray(numbers).view(f"i{numbers.itemsize}")
    return np.asarray(torch.from_numpy(signed).view(narrow).float())


def _cast(source: Any, target: Any) -> Any:
    numbers, kind = _wide(source), target.scalar
    narrow = _NARROW.get(kind)
    if narrow is None:
        return interpreter.TensorHandle(numbers.astype(interpreter._get_np_dtype(kind)), kind)
    found = torch.from_numpy(np.ascontiguousarray(numbers, np.float32))
    if narrow.itemsize == 1:  # as the hardware does, beyond the largest stays the largest
        found = found.clamp(torch.finfo(narrow).min, torch.finfo(narrow).max)
    bits = found.to(narrow).view(torch.int16 if narrow.itemsize == 2 else torch.int8)
    return interpreter.TensorHandle(np.asarray(bits).view(interpreter._get_np_dtype(kind)), kind)


def _dot(self: Any, a: Any, b: Any, d: Any, input_precision: Any, max_num_imprecise_acc: Any) -> Any:
    """As matrix units add: some inputs at a time, in one order whatever the shape of the block."""
    found, left, right = d.data, _wide(a), _wide(b)
    for k in range(0, left.shape[-1], INPUTS):
        products = left[..., k : k + INPUTS].astype(np.float64) @ right[..., k : k + INPUTS, :].astype(np.float64)
        found = (found + products).astype(found.dtype)
    return interpreter.TensorHandle(found, d.dtype.scalar)


def _fused(self: Any, x: Any, y: Any, z: Any) -> Any:
    """One rounding for float32; the second one, from float64, shows once in 2^29."""
    numbers = x.data.astype(np.float64) * y.data + z.data
    return interpreter.TensorHandle(numbers.astype(z.data.dtype), z.dtype.scalar)


def _refusing(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def checked(self: Any, *arguments: Any) -> Any:
        for argument in arguments:
            for each in argument if isinstance(argument, tuple) else (argument,):
                kind = getattr(each, "dtype", None)
                if getattr(kind, "scalar", None) in _NARROW:
                    raise TypeError(f"{function.__name__} of {kind}: cast to float32 before computing")
        return function(self, *arguments)

    return checked


def _with_index(patch: Callable[..., None]) -> Callable[..., None]:
    """NumPy 2.4 makes no index of an array with one element, which every scalar is here."""

    def patched(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(np.asarray(self.handle.data).reshape(-1)[0]))

    return patched
