"""From a folder's config.json to a ModelSpec: how families spell the same things, and what they leave out."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from stemma.core.base.errors import CheckpointError
from stemma.core.config.model import DTYPE_BYTES, ModelSpec, RopeKind, RopeSpec

Positive = Annotated[int, Meta(ge=1)]
Ids = int | tuple[int, ...] | None

# What transformers assumes when config.json is silent.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "LlamaForCausalLM": {"max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": 2},
    "MistralForCausalLM": {"max_position_embeddings": 131072, "num_key_value_heads": 8, "sliding_window": 4096,
                           "bos_token_id": 1, "eos_token_id": 2},
    "Qwen2ForCausalLM": {"max_position_embeddings": 32768, "num_key_value_heads": 32, "sliding_window": 4096},
    "Qwen3ForCausalLM": {"max_position_embeddings": 32768, "num_key_value_heads": 32, "sliding_window": 4096,
                         "head_dim": 128},
}  # fmt: skip
_ROPE_KINDS: dict[str, RopeKind] = {
    "default": "default", "linear": "linear", "dynamic": "dynamic", "yarn": "yarn",
    "llama3": "llama3", "longrope": "longrope", "su": "longrope",
}  # fmt: skip
_ACTIVATIONS = {
    "silu": "silu", "swish": "silu", "relu": "relu",
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
}  # fmt: skip
_SCALED_FROM_ORIGINAL = ("yarn", "llama3", "longrope")


class _Rope(Struct):
    """`rope_parameters`, or the `rope_scaling` of older checkpoints."""

    rope_type: str | None = None
    type: str | None = None
    rope_theta: float | None = None
    partial_rotary_factor: float | None = None
    factor: float | None = None
    original_max_position_embeddings: Positive | None = None
    attention_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()


class _Config(Struct):
    """The fields of config.json that matter here, under their own names."""

    hidden_size: Positive
    intermediate_size: Positive
    num_hidden_layers: Positive
    num_attention_heads: Positive
    vocab_size: Positive
    max_position_embeddings: Positive
    model_type: str = ""
    num_key_value_heads: Positive | None = None
    head_dim: Positive | None = None
    hidden_act: str = "silu"
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    rope_parameters: _Rope | None = None
    rope_scaling: _Rope | None = None
    rope_theta: float | None = None
    partial_rotary_factor: float | None = None
    original_max_position_embeddings: Positive | None = None
    use_sliding_window: bool = False
    sliding_window: Positive | None = None
    max_window_layers: int = 28
    layer_types: tuple[str, ...] | None = None
    dtype: str | None = None
    torch_dtype: str | None = None
    bos_token_id: Ids = None
    eos_token_id: Ids = None
    quantization_config: dict[str, Any] | None = None


class _Generation(Struct):
    eos_token_id: Ids = None


def read_model_spec(path: Path | str) -> ModelSpec:
    """Read `config.json` and `generation_config.json` of a model folder. Anything wrong is a CheckpointError."""
    file = Path(path) / "config.json"
    fields = _decode(file, dict[str, Any])
    try:
        return _spec(file, fields)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _spec(file: Path, fields: dict[str, Any]) -> ModelSpec:
    architecture = _architecture(fields)
    config = msgspec.convert(_DEFAULTS[architecture] | fields, _Config)
    if config.quantization_config is not None:
        raise CheckpointError("quantization_config: quantised checkpoints are not served; use the unquantised one")
    dtype = (config.dtype or config.torch_dtype or "float32").removeprefix("torch.")
    if dtype not in DTYPE_BYTES:
        raise CheckpointError(f"dtype {dtype!r} is not served; there are {', '.join(DTYPE_BYTES)}")
    if config.hidden_act not in _ACTIVATIONS:
        raise CheckpointError(f"hidden_act {config.hidden_act!r} is not served; there are {', '.join(_ACTIVATIONS)}")
    heads = config.num_attention_heads
    generation = file.with_name("generation_config.json")
    stops = _decode(generation, _Generation).eos_token_id if generation.exists() else None
    has_bias = architecture in ("LlamaForCausalLM", "Qwen3ForCausalLM") and config.attention_bias
    spec = ModelSpec(
        architecture=architecture,
        model_type=config.model_type,
        vocab_size=config.vocab_size,
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=config.num_key_value_heads or heads,
        head_dim=config.head_dim or config.hidden_size // heads,
        intermediate=config.intermediate_size,
        norm_eps=config.rms_norm_eps,
        rope=_rope(config),
        max_context=config.max_position_embeddings,
        windows=_windows(architecture, config),
        tied=config.tie_word_embeddings,
        qkv_bias=has_bias or architecture == "Qwen2ForCausalLM",
        output_bias=has_bias,
        mlp_bias=architecture == "LlamaForCausalLM" and config.mlp_bias,
        qk_norm=architecture == "Qwen3ForCausalLM",
        activation=_ACTIVATIONS[config.hidden_act],
        dtype=dtype,  # type: ignore[arg-type]  # checked above
        stop_ids=_ids(config.eos_token_id if stops is None else stops),
        bos_id=next(iter(_ids(config.bos_token_id)), None),
    )
    _check(spec)
    return spec


def _architecture(fields: dict[str, Any]) -> str:
    names = fields.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    if name not in _DEFAULTS:
        raise CheckpointError(f"architectures {names!r} is not served; there are {', '.join(_DEFAULTS)}")
    return str(name)


def _rope(config: _Config) -> RopeSpec:
    rope = config.rope_parameters or config.rope_scaling or _Rope()
    name = rope.rope_type or rope.type or "default"
    if name not in _ROPE_KINDS:
        raise CheckpointError(f"rotary scaling {name!r} is not served; there are {', '.join(_ROPE_KINDS)}")
    kind = _ROPE_KINDS[name]
    original = config.max_position_embeddings
    if kind in _SCALED_FROM_ORIGINAL:
        original = config.original_max_position_embeddings or rope.original_max_position_embeddings or original
    factor = rope.factor
    if factor is None and kind in ("yarn", "longrope"):
        factor = config.max_position_embeddings / original
    if factor is None and kind != "default":
        raise CheckpointError(f"rotary scaling {name!r} needs a factor")
    if kind == "llama3" and (rope.low_freq_factor is None or rope.high_freq_factor is None):
        raise CheckpointError("rotary scaling 'llama3' needs low_freq_factor and high_freq_factor")
    return RopeSpec(
        kind=kind,
        theta=rope.rope_theta or config.rope_theta or 10000.0,
        partial=rope.partial_rotary_factor or config.partial_rotary_factor or 1.0,
        factor=factor or 1.0,
        original_context=original,
        attention_factor=rope.attention_factor,
        beta_fast=rope.beta_fast or 32.0,
        beta_slow=rope.beta_slow or 1.0,
        mscale=rope.mscale,
        mscale_all_dim=rope.mscale_all_dim,
        truncate=rope.truncate,
        low_freq_factor=rope.low_freq_factor or 1.0,
        high_freq_factor=rope.high_freq_factor or 4.0,
        short_factor=rope.short_factor,
        long_factor=rope.long_factor,
    )


def _windows(architecture: str, config: _Config) -> tuple[int, ...]:
    """Mistral slides in every layer, Qwen where `layer_types` says so or from `max_window_layers` on, Llama never."""
    layers, window = config.num_hidden_layers, config.sliding_window or 0
    if architecture == "MistralForCausalLM":
        return (window,) * layers
    if architecture == "LlamaForCausalLM" or not config.use_sliding_window:
        return (0,) * layers
    if config.layer_types is None:
        return tuple(window if layer >= config.max_window_layers else 0 for layer in range(layers))
    if len(config.layer_types) != layers:
        raise CheckpointError(f"layer_types names {len(config.layer_types)} layers of {layers}")
    unknown = {*config.layer_types} - {"full_attention", "sliding_attention"}
    if unknown:
        raise CheckpointError(f"layer_types {sorted(unknown)} are not served")
    return tuple(window if kind == "sliding_attention" else 0 for kind in config.layer_types)


def _check(spec: ModelSpec) -> None:
    if spec.heads % spec.kv_heads:
        raise CheckpointError(f"{spec.heads} attention heads cannot share {spec.kv_heads} key heads evenly")
    if spec.rotary_width < 2 or spec.rotary_width % 2 or spec.rotary_width > spec.head_dim:
        raise CheckpointError(f"{spec.rotary_width} of {spec.head_dim} elements of a head cannot be rotated in pairs")
    pairs = spec.rotary_width // 2
    for name, factors in (("short_factor", spec.rope.short_factor), ("long_factor", spec.rope.long_factor)):
        if spec.rope.kind == "longrope" and len(factors) != pairs:
            raise CheckpointError(f"{name} has {len(factors)} numbers; a head of this model needs {pairs}")


def _ids(ids: Ids) -> tuple[int, ...]:
    if ids is None:
        return ()
    return (ids,) if isinstance(ids, int) else ids


Decoded = TypeVar("Decoded")


def _decode(file: Path, kind: type[Decoded]) -> Decoded:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except OSError as error:
        way_out = "a model is a folder of this machine, in Hugging Face layout"
        raise CheckpointError(f"{file} cannot be read: {error.strerror}; {way_out}") from error
    except msgspec.DecodeError as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error
