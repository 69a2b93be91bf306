"""A recording: the native calls of some Python code, written down once, made again in one call.

The same model code runs, once, under a Recorder: ops write down what they would have called, on memory that belongs to
the recording. What differs between two runs is symbolic: the number of rows and the addresses of inputs.
Everything else (weights, widths, order) is the same in every step, so any mixed batch replays without padding. This is
to a CPU what a captured graph is to a GPU, without its fixed shapes.
"""

import math
import struct
import weakref
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from stemma.core.base.errors import Bug
from stemma.device.ops.cpu.library import RECORDER, Argument, Function, Library

_ALIGNMENT = 64  # bytes of a cache line
_ROWS, _INPUTS = 0, 1  # symbols: the number of rows, the address of the first input


class CannotRecord(Exception):
    """Something else than a native op would have computed. Its text says what."""


class Recording:
    """What was written down. One thread replays it at a time."""

    def __init__(self, library: Library, recorder: "Recorder", code: Callable[[], Tensor]):
        self.most_rows = recorder.rows
        self.calls = recorder.calls
        self.bytes = sum(store.nbytes for store in recorder.memory)  # between the calls, for the most rows
        self._library = library
        self._words = torch.tensor(recorder.words)
        self._patches = torch.tensor(recorder.patches).view(-1, 3)
        self._alive = recorder.memory, code  # whose addresses stand in the words

    def replay(self, rows: int, inputs: Sequence[Tensor]) -> None:
        """Make the calls. `inputs` are shaped like those that were recorded, but for their number of rows."""
        if rows > self.most_rows:
            raise Bug(f"{rows} rows are replayed where memory is for {self.most_rows}")
        symbols = array("q", (rows, *(tensor.data_ptr() for tensor in inputs)))
        words, patches = self._words, self._patches
        program = words.data_ptr(), words.shape[0], patches.data_ptr(), patches.shape[0]
        self._library.replay.run(*program, symbols.buffer_info()[0])


class Recorder:
    """Writes calls down. Memory that the code lets go of is given out again, so it needs no more than a plain run."""

    def __init__(self, rows: int, inputs: Sequence[Tensor]):
        self.calls = 0
        self.words: list[int] = []
        self.patches: list[tuple[int, int, int]] = []
        self.memory: list[Any] = []
        self._free: list[Any] = []
        self.rows = rows
        self._inputs = inputs

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        count = math.prod(shape) * dtype.itemsize
        # Nothing small takes what something large will need again.
        fitting = [at for at, store in enumerate(self._free) if count <= store.nbytes <= 2 * count]
        if fitting:
            store = self._free.pop(min(fitting, key=lambda at: self._free[at].nbytes))
        else:
            whole = np.empty(count + _ALIGNMENT, np.uint8)
            skipped = -whole.ctypes.data % _ALIGNMENT
            store = whole[skipped : skipped + count]
            self.memory.append(store)
        lent = store[:count]
        weakref.finalize(lent, self._free.append, store)  # torch holds it as long as any view of it lives
        with torch._C.DisableTorchFunction():
            return torch.from_numpy(lent).view(dtype).view(shape)

    def add(self, function: Function, arguments: Sequence[Argument]) -> None:
        self.calls += 1
        self.words += (function.replayed, len(arguments))
        for kind, argument in zip(function.kinds, arguments, strict=True):
            if isinstance(argument, bytes):
                raise Bug(f"{function.name} reads bytes that a replay would not bring anew")
            if kind == "r":
                if argument != self.rows:
                    raise Bug(f"{function.name} is recorded for {argument} rows where a step has {self.rows}")
                self.patches.append((len(self.words), _ROWS, 0))
            elif kind == "p" and argument:
                self._note_input(int(argument))
            self.words.append(_bits(kind, argument))

    def _note_input(self, address: int) -> None:
        for symbol, tensor in enumerate(self._inputs, _INPUTS):
            offset = address - tensor.data_ptr()
            if 0 <= offset < tensor.nbytes:
                self.patches.append((len(self.words), symbol, offset))


class _NativeOnly(TorchFunctionMode):
    """Lets views of tensors pass and nothing that computes: a replay would not do it."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if _writes(func.__name__):
            raise CannotRecord(f"{func.__name__} is no native op")
        answer = func(*args, **(kwargs or {}))
        known = {_memory(argument) for argument in args if isinstance(argument, Tensor)}
        for found in answer if isinstance(answer, tuple | list) else (answer,):
            if isinstance(found, Tensor) and _memory(found) not in known:
                raise CannotRecord(f"{func.__name__} is no native op")
        return answer


def record(
    library: Library, code: Callable[[], Tensor], rows: int, inputs: Sequence[Tensor]
) -> tuple[Recording, Tensor]:
    """Run `code` for this many rows, the most there will be; what it wrote down, and where its answer will stand.

    `inputs` are what `code` reads and each replay brings anew. Raises CannotRecord.
    """
    recorder = Recorder(rows, inputs)
    token = RECORDER.set(recorder)
    try:
        with _NativeOnly():
            answer = code()
    finally:
        RECORDER.reset(token)
    return Recording(library, recorder, code), answer


def _bits(kind: str, argument: int | float | None) -> int:
    """An argument as the 8 bytes that a replay reads it from."""
    if kind == "f":
        return int.from_bytes(struct.pack("<f", argument), "little")
    return int(argument or 0)


def _writes(name: str) -> bool:
    """Whether a function of torch changes its argument, by the names that torch gives them."""
    return name == "__setitem__" or (name.startswith("__i") if name.endswith("__") else name.endswith("_"))


def _memory(tensor: Tensor) -> int:
    with torch._C.DisableTorchFunction():
        return tensor.untyped_storage().data_ptr()
