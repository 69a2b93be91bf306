"""Every byte of an engine process, by arithmetic, before anything is allocated.

Private memory is the process's own; mapped memory is the checkpoint seen through the page cache, which
the system may take back at any time. Admission, `stemma plan` and the start of an engine rest on these
numbers; `benchmarks/memory.py` holds them against a process that lives.
"""

from collections.abc import Sequence

from msgspec import Struct

from stemma.core.base.errors import ConfigError
from stemma.core.base.numbers import format_bytes
from stemma.core.config.engine import EngineConfig
from stemma.core.config.model import DTYPE_BYTES, kv_bytes_per_token, parameter_count

# What a process that has imported torch and the engine takes before it loads anything: measured.
RUNTIME_BYTES = 155 << 20
HEAD_ROWS = 256  # the head is applied to so many rows at a time


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
    return (_weights_line(config), _step_line(config), _logits_line(config), _runtime_line())


def _weights_line(config: EngineConfig) -> Line:
    parameters, dtype = parameter_count(config.model), config.device.dtype
    return Line(
        name="weights",
        bytes=parameters * DTYPE_BYTES[dtype],
        how=f"{parameters:,} parameters in {dtype}",
        option="--dtype",
    )


def _cache_line(config: EngineConfig) -> Line:
    cache = config.cache
    token = kv_bytes_per_token(config.model, config.device.kv_dtype)
    return Line(
        name="KV cache",
        bytes=(cache.pages + 1) * cache.page_size * token,  # and the null page
        how=f"{cache.pages * cache.page_size:,} tokens of {token:,} bytes in {config.device.kv_dtype}",
        option="--kv-cache-memory",
    )


def _step_line(config: EngineConfig) -> Line:
    """The widest moment of a layer: the feed-forward, or attention, whichever holds more."""
    spec, tokens = config.model, config.schedule.step_tokens
    heads = spec.head_dim * (spec.heads + 2 * spec.kv_heads)
    residual = 2 * spec.hidden
    widest = residual + max(heads + 2 * spec.heads * spec.head_dim, 3 * spec.intermediate)
    return Line(
        name="largest step",
        bytes=tokens * widest * DTYPE_BYTES[config.device.dtype],
        how=f"{tokens:,} tokens through the widest layer",
        option="--chunked-prefill-size",
    )


def _logits_line(config: EngineConfig) -> Line:
    rows = min(HEAD_ROWS, config.schedule.step_tokens)
    return Line(
        name="logits",
        bytes=2 * rows * config.model.vocab_size * DTYPE_BYTES["float32"],
        how=f"{rows} rows of {config.model.vocab_size:,} in float32, twice",
        option="--chunked-prefill-size",
    )


def _runtime_line() -> Line:
    return Line(name="runtime", bytes=RUNTIME_BYTES, how="Python, torch and its threads")
