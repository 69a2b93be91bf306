"""Rotary position embedding and its stretched forms.

Shapes: T tokens, R pairs that are rotated, P positions.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from stemma.core.config.model import ModelSpec, RopeSpec
from stemma.device.ops.reference.pieces import exact

Angles = tuple[Tensor, Tensor, Tensor]  # cosines and sines of every position [P, R], the step's positions [T]


class Rotary:
    """The angles of every position below `context`, computed once and shared by all layers.

    Forms that depend on the length of the text (dynamic, longrope) are those of a text as long as the context.
    """

    def __init__(self, spec: ModelSpec, context: int):
        frequency_R = _FREQUENCIES[spec.rope.kind](spec, context)
        angle_PR = torch.outer(torch.arange(context, dtype=torch.float32), frequency_R)
        scale = _attention_factor(spec.rope)
        self.cos_PR = exact(torch.cos, angle_PR).mul_(scale)
        self.sin_PR = exact(torch.sin, angle_PR).mul_(scale)

    def angles(self, positions_T: Tensor) -> Angles:
        """What a step's heads are turned by, for all layers."""
        return self.cos_PR, self.sin_PR, positions_T


def _powers(theta: float, width: int) -> Tensor:
    """theta ** (2 r / width) for each pair r."""
    powers_R: Tensor = theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
    return powers_R


def _default(spec: ModelSpec, context: int) -> Tensor:
    return 1.0 / _powers(spec.rope.theta, spec.rotary_width)


def _linear(spec: ModelSpec, context: int) -> Tensor:
    return _default(spec, context) / spec.rope.factor


def _dynamic(spec: ModelSpec, context: int) -> Tensor:
    rope, width = spec.rope, spec.rotary_width
    stretch = rope.factor * max(context, rope.original_context) / rope.original_context - (rope.factor - 1)
    return 1.0 / _powers(rope.theta * stretch ** (width / (width - 2)), width)


def _yarn(spec: ModelSpec, context: int) -> Tensor:
    """Fast pairs as they are, slow ones stretched, a ramp between them."""
    rope, width = spec.rope, spec.rotary_width

    def pair_of(turns: float) -> float:
        """Which pair turns so many times over the original context."""
        return width * math.log(rope.original_context / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))

    low, high = pair_of(rope.beta_fast), pair_of(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    if low == high:
        high += 0.001
    kept_R = 1 - ((torch.arange(width // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    powers_R = _powers(rope.theta, width)
    return 1.0 / (rope.factor * powers_R) * (1 - kept_R) + 1.0 / powers_R * kept_R


def _llama3(spec: ModelSpec, context: int) -> Tensor:
    """Long waves stretched, short ones as they are, the middle in between."""
    rope = spec.rope
    frequency_R = _default(spec, context)
    wavelength_R = 2 * math.pi / frequency_R
    longest, shortest = rope.original_context / rope.low_freq_factor, rope.original_context / rope.high_freq_factor
    smooth_R = (rope.original_context / wavelength_R - rope.low_freq_factor) / (
        rope.high_freq_factor - rope.low_freq_factor
    )
    middle_R = (1 - smooth_R) * frequency_R / rope.factor + smooth_R * frequency_R
    stretched_R = torch.where(wavelength_R > longest, frequency_R / rope.factor, middle_R)
    return torch.where(wavelength_R < shortest, frequency_R, stretched_R)


def _longrope(spec: ModelSpec, context: int) -> Tensor:
    rope = spec.rope
    factors = rope.long_factor if context > rope.original_context else rope.short_factor
    return 1.0 / (torch.tensor(factors, dtype=torch.float32) * _powers(rope.theta, spec.rotary_width))


_FREQUENCIES: dict[str, Callable[[ModelSpec, int], Tensor]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "yarn": _yarn,
    "llama3": _llama3,
    "longrope": _longrope,
}


def _attention_factor(rope: RopeSpec) -> float:
    """What cosines and sines are multiplied by."""
    if rope.kind not in ("yarn", "longrope"):
        return 1.0
    if rope.attention_factor is not None:
        return rope.attention_factor
    if rope.factor <= 1:
        return 1.0
    if rope.kind == "longrope":
        return math.sqrt(1 + math.log(rope.factor) / math.log(rope.original_context))
    if rope.mscale and rope.mscale_all_dim:
        return _mscale(rope.factor, rope.mscale) / _mscale(rope.factor, rope.mscale_all_dim)
    return _mscale(rope.factor, 1.0)


def _mscale(factor: float, weight: float) -> float:
    return 0.1 * weight * math.log(factor) + 1.0
