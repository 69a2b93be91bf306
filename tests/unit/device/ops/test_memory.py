"""Large memory is zero, ours to write, and on huge pages where the system has them."""

import re
from pathlib import Path

import pytest
import torch

from stemma.device.ops.memory import zeros

STATE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.parametrize("shape", [(3, 5), (3, 1 << 21)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16])
def test_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    found = zeros(shape, dtype)
    assert found.shape == shape and found.dtype == dtype and not found.any()
    found[-1] = 3
    assert (found[-1] == 3).all() and not found[0].any()


@pytest.mark.skipif(
    not STATE.exists() or "[never]" in STATE.read_text(), reason="this system gives no transparent huge pages"
)
def test_large_memory_lies_on_huge_pages() -> None:
    found = zeros((64 << 20,), torch.uint8).fill_(1)
    for area in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
        begin, end = (int(place, 16) for place in area.split(" ", 1)[0].split("-"))
        if begin <= found.data_ptr() < end:
            huge = re.search(r"AnonHugePages: +(\d+) kB", area)
            assert huge is not None and int(huge[1]) >= 32 << 10
            return
    pytest.fail("its area is not listed")
