"""An accelerator without one: tensors of the processor, and graphs that are replayed call by call.

A capture writes down every call of torch and every launch of an interpreted kernel, with the very tensors that it saw.
A replay makes these calls again and nothing else: what Python would decide anew is frozen, as in a graph of a GPU.
"""

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from triton.runtime.interpreter import GridExecutor

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]
_LAUNCH = GridExecutor.__call__


class FakeMark:
    """Everything is done when it is queued."""

    def __init__(self, platform: "FakePlatform"):
        self._platform = platform
        self.is_recorded = True

    def record(self) -> None:
        self._platform.launched += 1
        self.is_recorded = True

    def wait(self) -> None:
        assert self.is_recorded, "nothing was queued"
        self._platform.waits += 1


class FakeGraph:
    """Calls, in their order."""

    def __init__(self, platform: "FakePlatform", calls: list[Call]):
        self._platform = platform
        self._calls = calls

    def replay(self) -> None:
        self._platform.replays += 1
        for call, arguments, named, seen in self._calls:
            again = call(*arguments, **named)
            for old, new in zip(tree_leaves(seen), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch
    """Writes down what torch is asked for, and what interpreted kernels are."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch
        self.calls: list[Call] = []

    def __torch_dispatch__(self, call: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        found = call(*arguments, **(named or {}))
        self.calls.append((call, arguments, named or {}, found))
        return found

    @contextmanager
    def launches(self) -> Any:
        def launch(kernel: GridExecutor, *arguments: Any, **named: Any) -> None:
            with _disable_current_modes():
                _LAUNCH(kernel, *arguments, **named)
            self.calls.append((_LAUNCH, (kernel, *arguments), named, None))

        with mock.patch.object(GridExecutor, "__call__", launch):
            yield


class FakePlatform:
    """Counts what was asked of it."""

    def __init__(self, device: str = "cpu"):
        self.device = torch.device("cpu")
        self.launched = self.waits = self.replays = 0

    def pinned(self, count: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(count, dtype=dtype)

    def mark(self) -> FakeMark:
        return FakeMark(self)

    def capture(self, run: Callable[[], object]) -> FakeGraph:
        recorder = _Recorder()
        with recorder, recorder.launches():
            run()
        return FakeGraph(self, recorder.calls)
