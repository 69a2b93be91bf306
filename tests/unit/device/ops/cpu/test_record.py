"""A recording makes the same numbers as the code that was recorded, for any number of rows."""

import weakref
from collections.abc import Callable
from functools import partial
from typing import get_args

import pytest
import torch
from torch import Tensor

from stemma.core.base.errors import Bug
from stemma.core.config.quant import Format
from stemma.device.ops.cpu.library import Library, load
from stemma.device.ops.cpu.record import CannotRecord, Recording, record
from stemma.device.ops.matrix import Matrix
from stemma.device.ops.table import Ops, ops_of
from tests.bodies import NATIVE
from tests.matrices import laid

pytestmark = pytest.mark.skipif(not NATIVE, reason="no C++ compiler: nothing native to record")

MOST = 40


@pytest.fixture
def library() -> Library:
    return load(NATIVE[0].kernels)


@pytest.fixture
def ops() -> Ops:
    return ops_of(NATIVE[0].kernels)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def recorded(library: Library, code: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Recording, Tensor]:
    return record(library, lambda: code(x), rows=len(x), inputs=[x])


@pytest.mark.parametrize("format", get_args(Format))
def test_any_number_of_rows(library: Library, ops: Ops, format: Format) -> None:
    up, down, head, norm = (
        *(laid(random(*shape), ops, format) for shape in ((96, 64), (64, 48), (70, 64))),
        random(64),
    )

    def code(x: Tensor) -> Tensor:
        skip = None
        for _ in range(3):
            x, skip = ops.add_rms_norm(x, skip, norm, 1e-6)
            x = ops.linear(ops.gated(ops.linear(x, up, None), "silu"), down, None)
        return ops.logits(x.view(-1, 64), head)

    recording, answer = recorded(library, code, random(MOST, 64))
    assert recording.calls == 3 * 4 + 1
    for rows in (1, 7, MOST, 2):
        x = random(rows, 64) * rows
        recording.replay(rows, [x])
        assert torch.equal(answer[:rows], code(x))


def test_one_call_from_python(library: Library, ops: Ops) -> None:
    weight, x = laid(random(64, 64), ops), random(MOST, 64)
    recording, _ = recorded(library, lambda x: ops.linear(ops.linear(x, weight, None), weight, None), x)
    before = library.calls
    recording.replay(3, [x])
    assert library.calls == before + 1


def test_more_rows_than_there_is_memory_for(library: Library, ops: Ops) -> None:
    weight = laid(random(64, 64), ops)
    recording, _ = recorded(library, lambda x: ops.linear(x, weight, None), random(MOST, 64))
    with pytest.raises(Bug, match="41 rows are replayed where memory is for 40"):
        recording.replay(MOST + 1, [random(MOST + 1, 64)])


def test_recording_computes_nothing(library: Library, ops: Ops) -> None:
    weight, x = laid(random(64, 64), ops), random(MOST, 64)
    before = library.calls
    recorded(library, lambda x: ops.linear(x, weight, None), x)
    assert library.calls == before


def test_an_input_may_be_read_from_its_middle(library: Library, ops: Ops) -> None:
    weight, x = laid(random(64, 32), ops), random(1, 4, 64)
    recording, answer = recorded(library, lambda x: ops.linear(x[:, 2, 32:], weight, None), x)
    other = x + 1
    recording.replay(1, [other])
    assert torch.equal(answer, ops.linear(other[:, 2, 32:], weight, None))


def test_weights_live_as_long_as_the_recording(library: Library, ops: Ops) -> None:
    x = random(MOST, 64)

    def code(x: Tensor, weight: Matrix) -> Tensor:
        return ops.linear(x, weight, None)

    weight = laid(random(64, 64), ops)
    expected, gone = code(x, weight), weakref.ref(weight.store)
    recording, answer = recorded(library, partial(code, weight=weight), x)
    del weight
    recording.replay(MOST, [x])
    assert gone() is not None and torch.equal(answer, expected)


def test_memory_is_used_again(library: Library, ops: Ops) -> None:
    """A chain of many products needs the memory of two."""
    weight, x = laid(random(64, 64), ops), random(MOST, 64)

    def chain(x: Tensor) -> Tensor:
        for _ in range(20):
            x = ops.linear(x, weight, None)
        return x

    assert recorded(library, chain, x)[0].bytes == 2 * x.nbytes


def test_a_view_keeps_its_memory(library: Library, ops: Ops) -> None:
    """What is still seen by a view is not given to another op."""
    weight, norm, x = laid(random(64, 64), ops), random(64), random(MOST, 64)

    def code(x: Tensor) -> Tensor:
        first = ops.linear(x, weight, None).view(-1)
        for _ in range(3):
            x = ops.linear(x, weight, None)
        return ops.add_rms_norm(x, first.view(-1, 64), norm, 1e-6)[0]

    recording, answer = recorded(library, code, x)
    recording.replay(MOST, [x])
    assert torch.equal(answer, code(x))


def set_first(x: Tensor) -> Tensor:
    x[0] = 0
    return x


@pytest.mark.parametrize(
    "compute", [lambda x: x * 2, lambda x: x.mul_(2), lambda x: torch.cat([x, x]), torch.relu, set_first]
)
def test_what_is_not_native_cannot_be_recorded(library: Library, compute: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(CannotRecord):
        recorded(library, compute, random(3, 4))
    # And native calls are calls again.
    ops = ops_of(NATIVE[0].kernels)
    weight = laid(random(64, 4), ops)
    assert ops.linear(random(3, 4), weight, None).shape == (3, 64)
