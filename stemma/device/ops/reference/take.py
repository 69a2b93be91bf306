"""Some rows of a step.

Shapes: T rows, S places, D model width.
"""

from torch import Tensor


def take(x_TD: Tensor, places_S: Tensor) -> Tensor:
    return x_TD.index_select(0, places_S)
