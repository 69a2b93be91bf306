"""What no implementation can beat: the bytes and operations of a step over the rates of a device.

A decode step reads every weight and every cached key and value once. A prompt's tokens go through every matrix but the
head, and half of them, on average, are seen by each.
"""

from stemma.core.config.accelerator import Accelerator
from stemma.core.config.engine import EngineConfig
from stemma.core.config.model import DTYPE_BYTES, ModelSpec, kv_bytes_per_token, matrix_shapes, vector_elements
from stemma.core.config.quant import row_bytes


def decode_bytes(config: EngineConfig, rows: int, context: int) -> int:
    """That a step must read, in which each row has so many positions behind it."""
    spec, device = config.model, config.device
    read = vector_elements(spec) * DTYPE_BYTES[device.dtype]
    for (outputs, inputs), count in _read_matrices(spec).items():
        read += count * outputs * row_bytes(device.weights, inputs, device.dtype)
    return read + rows * context * kv_bytes_per_token(spec, device.kv_dtype)


def decode_operations(config: EngineConfig, rows: int, context: int) -> int:
    spec = config.model
    products = sum(2 * outputs * inputs * count for (outputs, inputs), count in _read_matrices(spec).items())
    return rows * (products + _attention_operations(spec, context))


def decode_seconds(config: EngineConfig, found: Accelerator, rows: int, context: int) -> float:
    """The floor of a step. The device's rates are known."""
    return max(
        decode_bytes(config, rows, context) / found.bandwidth, decode_operations(config, rows, context) / found.flops
    )


def prefill_rate(config: EngineConfig, found: Accelerator, prompt: int) -> float:
    """Tokens a second, at most, of a prompt of this length."""
    spec = config.model
    products = sum(2 * outputs * inputs * count for (outputs, inputs), count in _read_matrices(spec).items())
    products -= 2 * spec.vocab_size * spec.hidden  # the head, for the last token alone
    return found.flops / (products + _attention_operations(spec, prompt) / 2)


def _read_matrices(spec: ModelSpec) -> dict[tuple[int, int], int]:
    """All but the embedding, of which a step reads some rows."""
    shapes = matrix_shapes(spec)
    if not spec.tied:
        shapes[spec.vocab_size, spec.hidden] -= 1
    return shapes


def _attention_operations(spec: ModelSpec, context: int) -> int:
    """Of one query in every layer, with so many keys."""
    keys = sum(min(window, context) if window else context for window in spec.windows)
    return 4 * spec.heads * spec.head_dim * keys
