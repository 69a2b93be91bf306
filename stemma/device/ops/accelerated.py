"""The ops around a model's step that an accelerator does by itself: its inputs, its draws, its log-probabilities.

Shapes: N rows of the step, T tokens, S places, W places whose log-probabilities are wanted, B bytes of a record
(ops/cpu/sampling.py, with addresses of the device), V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from stemma.core.base.registry import Registry
from stemma.device.ops.cpu.sampling import Drawn, Scores
from stemma.device.ops.inputs import Tables

_TRITON = "stemma.device.ops.triton"
_PLACES = {
    "fill_inputs": f"{_TRITON}.inputs:fill_inputs",
    "sample": f"{_TRITON}.sample:sample",
    "score": f"{_TRITON}.score:score",
}


@dataclass(slots=True, frozen=True)
class StepOps:
    """The bodies in use. None of them waits for the device, and all read from memory what changes between steps."""

    fill_inputs: Callable[[Tensor, Tensor, Tables], None]  # [3, T] from columns [3, N]
    sample: Callable[[Tensor, Tensor], Drawn]  # of logits [S, V] and records [S, B]
    score: Callable[[Tensor, Tensor, Tensor, int, int], Scores]  # of logits, tokens [S] and records [W, B]


def step_ops() -> StepOps:
    table = Registry[Callable[..., Any]]("op of a step", _PLACES)
    return StepOps(**{op.name: table[op.name] for op in fields(StepOps)})
