"""Rows of a table.

Shapes: T tokens, V vocabulary, D model width.
"""

from torch import Tensor


def embed(tokens_T: Tensor, table_VD: Tensor) -> Tensor:
    return table_VD.index_select(0, tokens_T)
