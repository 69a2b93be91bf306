"""Rows of a table.

Shapes: T tokens, S places, V vocabulary, D model width.
"""

from torch import Tensor


def embed(tokens_T: Tensor, table_VD: Tensor) -> Tensor:
    return table_VD.index_select(0, tokens_T)


def take(x_TD: Tensor, places_S: Tensor) -> Tensor:
    """Some rows of a step."""
    return x_TD.index_select(0, places_S)
