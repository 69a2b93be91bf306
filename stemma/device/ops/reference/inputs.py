"""From the rows of a plan to its tokens. Shapes: ops/inputs.py; a row is (row, start, count, draws)."""

import numpy as np
import torch

from stemma.device.ops.inputs import Inputs, Ints, Tables


def inputs(parts_N4: Ints, tables: Tables, tokens: int) -> Inputs:
    """`tokens` is the sum of all counts."""
    row_N, start_N, count_N, _ = parts_N4.T
    zero_N = count_N.cumsum() - count_N - start_N
    row_T = torch.from_numpy(row_N.repeat(count_N))
    positions_T = torch.from_numpy(np.arange(tokens) - zero_N.repeat(count_N))
    page_T, offset_T = positions_T // tables.page_size, positions_T % tables.page_size
    return Inputs(
        tokens_T=tables.tokens_RC[row_T, positions_T].long(),
        positions_T=positions_T,
        slots_T=tables.pages_RP[row_T, page_T] * tables.page_size + offset_T,
        zero_N=zero_N,
    )
