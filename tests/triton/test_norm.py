"""Norms in Triton."""

import pytest
import torch
from torch import Tensor

from stemma.device.ops.table import Ops
from tests.triton.rows import DTYPES, assert_like_the_reference, random


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [1, 80, 517])
def test_add_rms_norm(dtype: torch.dtype, width: int) -> None:
    weight = random(width, dtype=dtype, seed=1)
    for part, factor in ((0, 2), (1, 2), (0, None), (1, None)):

        def norm(ops: Ops, x: Tensor, part: int = part, factor: int | None = factor) -> Tensor:
            return ops.add_rms_norm(x, None if factor is None else x * factor, weight, 1e-6)[part]

        assert_like_the_reference(norm, random(5, width, dtype=dtype))
