"""What an engine is told: every question settled. Made by `resolve` only, never changed afterwards."""

from typing import Literal, get_args

from msgspec import Struct

from stemma.core.config.accelerator import Platform
from stemma.core.config.model import ModelSpec
from stemma.core.config.quant import Format

Policy = Literal["lpm", "fcfs", "dfs-weight", "lof", "random", "priority"]
DType = Literal["float32", "bfloat16", "float16"]
KVType = Literal["float32", "bfloat16", "float16", "int8"]  # of cached keys and values
Attention = Literal["paged", "triton", "flash", "flashinfer", "reference"]  # of processors; of accelerators; of all
LIBRARIES = {"flash": "flash_attn_interface", "flashinfer": "flashinfer"}  # that attention backends need

# Sets of kernels: those of processors, the best first, each named for the instructions that it needs; those of
# accelerators; plain torch, which runs everywhere.
NativeKernels = Literal["amx", "avx512_bf16", "avx512_vnni", "avx512", "avx2", "portable"]
Kernels = Literal[NativeKernels, "triton", "reference"]

# Libraries that know grammars. A chain rewrites what the first of them refuses.
GrammarBackend = Literal["chain", "llguidance", "xgrammar", "outlines"]
WHITESPACE_BACKENDS: tuple[GrammarBackend, ...] = ("chain", "llguidance", "outlines")  # take a pattern of it


class CacheConfig(Struct, frozen=True, kw_only=True):
    """The paged KV cache."""

    pages: int  # usable pages; the device has one more, the null page, number `pages`
    page_size: int  # tokens of a page
    radix: bool = True  # whether prefixes are kept for reuse
    eviction: Literal["lru"] = "lru"


class ScheduleConfig(Struct, frozen=True, kw_only=True):
    """Limits of a step, and the order of those who wait."""

    max_running: int  # rows
    max_queued: int | None  # None: no limit
    step_tokens: int  # the most tokens of one step; prefill chunks fill what decodes leave
    policy: Policy = "fcfs"
    priority: bool = False  # whether Request.priority orders the queue and may preempt
    conservativeness: float = 1.0  # scales the expected share of max_new_tokens
    max_step_seconds: float = 0.0  # chunks beside decodes end the step by then; 0: they may take as long as they do
    depth: int = 1  # steps in flight: 1 plain, 2 overlapped


class DeviceConfig(Struct, frozen=True, kw_only=True):
    """Where and how the numbers are computed."""

    platform: Platform = "cpu"
    device: str = "cpu"  # as torch names it: "cpu", "cuda:0"
    dtype: DType = "bfloat16"  # of activations, and of weights that are kept as they are
    weights: Format = "plain"
    kv_dtype: KVType = "bfloat16"
    kernels: Kernels = "reference"
    attention: Attention = "reference"
    threads: int = 1
    graphs: bool = False  # whether steps are captured, and replayed whole
    deterministic: bool = True  # whether a row has the bits that it has alone

    @property
    def is_native(self) -> bool:
        """Whether kernels of this processor compute."""
        return self.kernels in get_args(NativeKernels)

    @property
    def is_plain(self) -> bool:
        """Whether plain torch computes."""
        plain: str = get_args(Kernels)[-1]
        return self.kernels == plain

    @property
    def is_accelerated(self) -> bool:
        return self.platform != "cpu"


class GrammarConfig(Struct, frozen=True, kw_only=True):
    """Answers that must match something."""

    tokenizer_path: str  # folder of tokenizer.json
    backend: GrammarBackend = "chain"
    compile_seconds: float = 10.0  # that one grammar may take
    whitespace_pattern: str | None = None  # what may stand between the signs of JSON
    most_whitespace: int | None = None  # how much of it where there is no pattern; None: as the backend likes
    jump_forward: bool = True  # whether text that a grammar forces is given, not drawn


class EngineConfig(Struct, frozen=True, kw_only=True):
    """Everything an engine process needs to start; travels to it as JSON."""

    model_path: str
    model: ModelSpec
    load_format: Literal["auto", "safetensors", "dummy"]
    context: int  # the most tokens of prompt and answer together
    seed: int
    cache: CacheConfig
    schedule: ScheduleConfig
    device: DeviceConfig
    grammar: GrammarConfig | None = None  # None: requests with a grammar are refused
    log_level: str = "info"
