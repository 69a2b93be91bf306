"""What it takes to make a layer."""

from dataclasses import dataclass

import torch

from stemma.core.config.model import ModelSpec
from stemma.core.config.quant import Format
from stemma.device.attention.backend import AttentionBackend
from stemma.device.layers.rope import Rotary
from stemma.device.ops.table import Ops


@dataclass(slots=True, frozen=True)
class Build:
    """Handed to every layer's constructor; layers keep what they need of it."""

    spec: ModelSpec
    ops: Ops
    attention: AttentionBackend
    rotary: Rotary
    dtype: torch.dtype
    format: Format  # of matrices
