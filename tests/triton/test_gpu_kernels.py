"""What the benchmark of kernels holds attention and draws to, tiny and interpreted: it must not fail for the first time
where time is dear."""

import msgspec
import pytest
import torch

from benchmarks.gpu.kernels import LIMIT, attention, draws
from benchmarks.gpu.stage import difference
from benchmarks.gpu.table import config_of
from stemma.device.ops.table import ops_of


@pytest.mark.parametrize("make", [attention, draws], ids=["attention", "draws"])
def test_every_case_is_right(make: object) -> None:
    spec = msgspec.structs.replace(
        config_of("tiny").model, heads=4, kv_heads=2, head_dim=16, vocab_size=300, layers=1, windows=(0,)
    )
    ops, found = ops_of("reference"), 0
    torch.manual_seed(0)
    for case in make(ops, ops, spec, (1, 2)):  # type: ignore[operator]  # one of the two
        assert difference(case.run(*case.given[0]), case.right(*case.given[0])) <= LIMIT, case.shape
        assert case.peer is not None
        assert case.peer(*case.given[0]).shape == case.run(*case.given[0]).shape
        found += 1
    assert found >= 2
