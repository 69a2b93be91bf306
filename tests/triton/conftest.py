"""The interpreter, made right before any kernel runs."""

from collections.abc import Iterator

import numpy as np
import pytest

from tools import triton_interpreter

triton_interpreter.install()


@pytest.fixture(autouse=True)
def numbers_may_overflow() -> Iterator[None]:
    """As they do in silence on a GPU."""
    with np.errstate(all="ignore"):
        yield
