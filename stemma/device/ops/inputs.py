"""What the op `inputs` takes and gives.

Shapes: N rows of a plan, R rows that sit, C positions of a context, P pages of one, T tokens of the step
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.int64]


class Tables(NamedTuple):
    """A row for each that sits."""

    tokens_RC: Tensor  # int32, by position
    pages_RP: Tensor  # int64
    page_size: int


class Inputs(NamedTuple):
    """The tokens of a plan's rows, side by side in its order."""

    tokens_T: Tensor
    positions_T: Tensor
    slots_T: Tensor
    zero_N: Ints  # where position 0 of each row would stand among the tokens
