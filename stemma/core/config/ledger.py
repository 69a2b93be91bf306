"""Every byte of an engine process, by arithmetic, before anything is allocated.

Private memory is the process's own; mapped memory is the checkpoint seen through the page cache, which
the system may take back at any time. Admission, `stemma plan` and the start of an engine rest on these
numbers; `benchmarks/memory.py` holds them against a process that lives.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from stemma.core.base.errors import ConfigError
from stemma.core.base.numbers import ceil_div, format_bytes
from stemma.core.config.buckets import decode_buckets, forward_sizes
from stemma.core.config.engine import DeviceConfig, EngineConfig
from stemma.core.config.model import (
    DTYPE_BYTES,
    kv_bytes_per_token,
    kv_head_bytes,
    matrix_shapes,
    parameter_count,
    rotary_table_bytes,
)
from stemma.core.config.quant import weight_bytes

RUNTIME_BYTES = 151 << 20  # of a process that has imported torch and the engine: measured, torch 2.13 for CPUs
CONTEXT_BYTES = 1 << 30  # of an accelerator's context, libraries and compiled kernels: a guess, on the safe side
SPLIT_STATES = 1 << 18  # parts of answers that attention's programs leave to each other
GRAPH_BYTES = 8 << 20  # of what a driver keeps of one captured graph: a guess, on the safe side
HEAD_ROWS = 64  # a processor applies the head to so many rows at a time: a large vocabulary's logits are wide
ATTENTION_KEYS = 4096  # attention gathers so many keys at a time
ATTENTION_TILE = 16  # and compares them with so many rows of queries


class Line(Struct, frozen=True, kw_only=True):
    """One purpose that memory serves, and the option that moves it."""

    name: str
    bytes: int
    how: str  # the arithmetic, in words
    option: str = ""
    mapped: bool = False


class Ledger(Struct, frozen=True, kw_only=True):
    """All lines of one engine, and what fits into its cache."""

    lines: tuple[Line, ...]
    limit_bytes: int  # what the machine grants
    tokens: int  # that the cache holds
    context: int
    rows: int

    def line(self, name: str) -> Line:
        return next(line for line in self.lines if line.name == name)

    @property
    def private_bytes(self) -> int:
        return sum(line.bytes for line in self.lines if not line.mapped)

    @property
    def mapped_bytes(self) -> int:
        return sum(line.bytes for line in self.lines if line.mapped)

    @property
    def full_contexts(self) -> int:
        """How many requests of the full context fit at once."""
        return min(self.rows, self.tokens // self.context)

    @property
    def shared_context(self) -> int:
        """The context that fits when every row is taken."""
        return min(self.context, self.tokens // self.rows)

    def check(self) -> None:
        """Raises ConfigError when the machine grants less than is needed."""
        if self.private_bytes <= self.limit_bytes:
            return
        largest = max((line for line in self.lines if line.option), key=lambda line: line.bytes)
        raise ConfigError(
            f"this needs {format_bytes(self.private_bytes)} of memory and the machine grants "
            f"{format_bytes(self.limit_bytes)}; the largest part is {largest.name} with {format_bytes(largest.bytes)}: "
            f"change {largest.option}"
        )


def ledger_of(config: EngineConfig, limit_bytes: int) -> Ledger:
    """The bytes of an engine that is started with this configuration."""
    return Ledger(
        lines=(*_fixed_lines(config), _cache_line(config)),
        limit_bytes=limit_bytes,
        tokens=config.cache.pages * config.cache.page_size,
        context=config.context,
        rows=config.schedule.max_running,
    )


def _fixed_lines(config: EngineConfig) -> Sequence[Line]:
    return (
        *_weights_lines(config),
        _rotary_line(config),
        _step_line(config),
        _logits_line(config),
        *(_accelerated_lines(config) if config.device.is_accelerated else _processor_lines()),
    )


def _processor_lines() -> Iterator[Line]:
    yield Line(name="runtime", bytes=RUNTIME_BYTES, how="Python, torch and its threads")


def _accelerated_lines(config: EngineConfig) -> Iterator[Line]:
    """What stands on an accelerator only. Graphs share the memory of one step, the largest that is captured."""
    rows, context = config.schedule.max_running, config.context
    pages = ceil_div(context, config.cache.page_size) + 1
    yield Line(
        name="row tables",
        bytes=(rows + 1) * (context + 1 + pages) * 4,
        how=f"tokens and pages of {rows} rows",
        option="--max-running-requests",
    )
    yield Line(
        name="attention",
        bytes=SPLIT_STATES * (config.model.head_dim + 2) * 4,
        how=f"{SPLIT_STATES:,} parts of answers",
        option="--attention-backend",
    )
    if config.device.graphs:
        sizes = forward_sizes(rows, config.schedule.step_tokens)
        graphs, tokens = len(sizes) + len(decode_buckets(rows)), max(tokens for _, tokens in sizes)
        yield Line(
            name="graphs",
            bytes=graphs * GRAPH_BYTES + _step_bytes(config, tokens),
            how=f"{graphs} of them, and a step of {tokens} tokens",
            option="--disable-cuda-graph",
        )
    yield Line(name="runtime", bytes=CONTEXT_BYTES, how="the device's context, libraries and kernels: an estimate")


def _weights_lines(config: EngineConfig) -> Iterator[Line]:
    parameters, stored = parameter_count(config.model), config.model.dtype
    dtype, format = config.device.dtype, config.device.weights
    yield Line(
        name="weights",
        bytes=weight_bytes(format, config.model, dtype),
        how=f"{parameters:,} parameters in {dtype if format == 'plain' else format}",
        option="--quantization",
    )
    if config.load_format != "dummy":
        yield Line(
            name="checkpoint",
            bytes=parameters * DTYPE_BYTES[stored],
            how=f"{stored}, mapped while it is read",
            mapped=True,
        )


def _rotary_line(config: EngineConfig) -> Line:
    return Line(
        name="rotary tables",
        bytes=rotary_table_bytes(config.model, config.context),
        how=f"cosines and sines of {config.context:,} positions",
        option="--context-length",
    )


def _cache_line(config: EngineConfig) -> Line:
    cache = config.cache
    token = kv_bytes_per_token(config.model, config.device.kv_dtype)
    return Line(
        name="KV cache",
        bytes=(cache.pages + spare_pages(config.device)) * cache.page_size * token,
        how=f"{cache.pages * cache.page_size:,} tokens of {token:,} bytes in {config.device.kv_dtype}",
        option="--kv-cache-memory",
    )


def _step_line(config: EngineConfig) -> Line:
    """In plain torch the widest moment of a layer: its feed-forward part or its attention, beside what bypasses both.

    A recorded step gives memory out again and never cuts it: both parts have their own.
    """
    tokens = config.schedule.step_tokens
    return Line(
        name="largest step",
        bytes=_step_bytes(config, tokens) + _quantised_bytes(config),
        how=f"{tokens:,} tokens through the widest layer",
        option="--chunked-prefill-size",
    )


def _step_bytes(config: EngineConfig, tokens: int) -> int:
    spec, width = config.model, DTYPE_BYTES[config.device.dtype]
    bypass, inner = tokens * spec.hidden * width, tokens * spec.intermediate * width
    # Gate and up, and their product; in plain torch the gate is copied and activated between.
    if config.device.is_plain:
        return 2 * bypass + max(5 * inner, _attention_bytes(config, tokens))
    return 4 * bypass + 3 * inner + _attention_bytes(config, tokens)


def _quantised_bytes(config: EngineConfig) -> int:
    """The rows of the widest product, as its kernel wants them: in two bytes for each number, or in one."""
    if config.device.weights == "plain":
        return 0
    return 2 * config.schedule.step_tokens * max(inputs for _, inputs in matrix_shapes(config.model))


def _attention_bytes(config: EngineConfig, tokens: int) -> int:
    """What the reference attention works on: keys and values in float32, scores, and the queries four times.

    The native one works on some blocks; what counts are queries, keys and values, queries and keys turned, the answer.
    """
    spec = config.model
    if not config.device.is_plain:
        heads = 3 * spec.heads + 3 * spec.kv_heads
        return heads * spec.head_dim * tokens * DTYPE_BYTES[config.device.dtype]
    gathered = ATTENTION_KEYS * spec.kv_heads * (2 * 4 * spec.head_dim + kv_head_bytes(spec, config.device.kv_dtype))
    scores = 3 * ATTENTION_KEYS * spec.kv_heads * ATTENTION_TILE * 4
    return gathered + scores + 4 * tokens * spec.heads * spec.head_dim * 4


def head_rows(config: EngineConfig) -> int:
    """How many rows have logits at a time: on an accelerator all that draw."""
    return config.schedule.max_running if config.device.is_accelerated else min(HEAD_ROWS, config.schedule.step_tokens)


def spare_pages(device: DeviceConfig) -> int:
    """Pages beside those that are handed out: the null page and, where steps are filled up, one for what fills."""
    return 2 if device.is_accelerated else 1


def _logits_line(config: EngineConfig) -> Line:
    """Native kernels write float32 at once; plain torch has them in the type of the weights before."""
    rows, dtype = head_rows(config), config.device.dtype
    is_direct = not config.device.is_plain or dtype == "float32"
    width = DTYPE_BYTES["float32"] + (0 if is_direct else DTYPE_BYTES[dtype])
    types = "in float32" if is_direct else f"in {dtype} and in float32"
    return Line(
        name="logits",
        bytes=rows * config.model.vocab_size * width,
        how=f"{rows} rows of {config.model.vocab_size:,} at a time, {types}",
        option="--chunked-prefill-size",
    )
