"""What a model is: its config.json, read once into one frozen record."""

from typing import Literal

from msgspec import Struct

RopeKind = Literal["default", "linear", "dynamic", "yarn", "llama3", "longrope"]


class RopeSpec(Struct, frozen=True, kw_only=True):
    """Rotary position embedding: base frequency, and how it is stretched to longer contexts.

    Every parameter of every kind stands here; a kind reads its own. The form that transformers
    would switch at run time by the current length is fixed by the context limit at start.
    """

    kind: RopeKind = "default"
    theta: float = 10000.0
    partial: float = 1.0  # share of a head's width that is rotated
    factor: float = 1.0
    original_context: int = 0  # context of the pretraining, 0 when the kind does not need it
    attention_factor: float | None = None  # None: the kind's own formula
    beta_fast: float = 32.0  # yarn
    beta_slow: float = 1.0  # yarn
    mscale: float | None = None  # yarn
    mscale_all_dim: float | None = None  # yarn
    truncate: bool = True  # yarn: round the correction range to whole dimensions
    low_freq_factor: float = 1.0  # llama3
    high_freq_factor: float = 4.0  # llama3
    short_factor: tuple[float, ...] = ()  # longrope
    long_factor: tuple[float, ...] = ()  # longrope


class ModelSpec(Struct, frozen=True, kw_only=True):
    """A decoder-only transformer, as its checkpoint describes it. Widths in elements."""

    architecture: str  # "Qwen3ForCausalLM", ...
    model_type: str
    vocab_size: int
    hidden: int  # model width
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int  # width of the feed-forward layer
    norm_eps: float
    rope: RopeSpec
    max_context: int  # max_position_embeddings
    windows: tuple[int, ...]  # per layer: how many latest positions it sees, itself included; 0: all
    tied: bool  # the head is the embedding
    qkv_bias: bool = False
    output_bias: bool = False  # of the attention's output projection
    mlp_bias: bool = False
    qk_norm: bool = False  # RMSNorm over each query and key head
    activation: str = "silu"
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"  # as config.json says the weights are
    stop_ids: tuple[int, ...] = ()  # end tokens of generation_config.json, else of config.json
    bos_id: int | None = None

    @property
    def rotary_width(self) -> int:
        """How many elements of a head are rotated; the others pass as they are."""
        return int(self.head_dim * self.rope.partial)


DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
SCALE_BYTES = 4


def kv_head_bytes(spec: ModelSpec, kv_dtype: str) -> int:
    """One head's key, or value, of one position; of 8 bits, with its scale in float32."""
    return spec.head_dim + SCALE_BYTES if kv_dtype == "int8" else spec.head_dim * DTYPE_BYTES[kv_dtype]


def kv_bytes_per_token(spec: ModelSpec, kv_dtype: str) -> int:
    """Keys and values that one position keeps, over all layers."""
    return 2 * spec.layers * spec.kv_heads * kv_head_bytes(spec, kv_dtype)


def rotary_table_bytes(spec: ModelSpec, context: int) -> int:
    """The cosines and sines of every position below `context`, in float32, shared by all layers."""
    return context * spec.rotary_width * 4


def matrix_shapes(spec: ModelSpec) -> dict[tuple[int, int], int]:
    """How many matrices have these outputs and inputs, as kernels see them: merged ones are one, a tied head none."""
    q_width, kv_width = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    shapes = [(q_width + 2 * kv_width, spec.hidden), (spec.hidden, q_width)]
    shapes += [(2 * spec.intermediate, spec.hidden), (spec.hidden, spec.intermediate)]
    shapes = shapes * spec.layers + [(spec.vocab_size, spec.hidden)] * (1 if spec.tied else 2)
    return {shape: shapes.count(shape) for shape in dict.fromkeys(shapes)}


def vector_elements(spec: ModelSpec) -> int:
    """Elements of all norms and biases."""
    q_width, kv_width = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    layer = (q_width + 2 * kv_width) * spec.qkv_bias + spec.hidden * spec.output_bias
    layer += 2 * spec.head_dim * spec.qk_norm + (2 * spec.intermediate + spec.hidden) * spec.mlp_bias
    return spec.layers * (layer + 2 * spec.hidden) + spec.hidden


def parameter_count(spec: ModelSpec) -> int:
    """Elements of all weights; a tied head counts once."""
    matrices = sum(outputs * inputs * count for (outputs, inputs), count in matrix_shapes(spec).items())
    return matrices + vector_elements(spec)
