"""The models of the arena, of random weights: `python -m benchmarks.arena.models FOLDER [M] [S]`.

M has the shape of Qwen3-0.6B; S is a Llama of 12 million parameters, with which hosts show what they cost. Engines
need no more than the shape to be fast or slow. The tokenizer is made of letters, their pairs and triples, and the rows
of the head that are no text alone are zero: a greedy answer never ends by itself, and every token of it can be shown.
"""

import json
import string
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import torch
from msgspec import Struct
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from torch import Tensor

SPECIAL = ["<|pad|>", "<|start|>", "<|end|>"]
DEVIATION = 0.02
# Of the last norm: logits are spread so far that the likeliest token is seldom a matter of rounding.
SHARPNESS = 8.0


class Shape(Struct, frozen=True, kw_only=True):
    """What decides how long a model takes. The fields are those of a config.json."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    tie_word_embeddings: bool

    @property
    def layer_weights(self) -> int:
        """Numbers in the matrices of all layers."""
        heads = 2 * self.num_attention_heads + 2 * self.num_key_value_heads
        return self.num_hidden_layers * self.hidden_size * (heads * self.head_dim + 3 * self.intermediate_size)

    @property
    def head_weights(self) -> int:
        return self.vocab_size * self.hidden_size

    @property
    def token_numbers(self) -> int:
        """Numbers that a token leaves in the cache of keys and values."""
        return 2 * self.num_hidden_layers * self.num_key_value_heads * self.head_dim


def shape_of(folder: Path) -> Shape | None:
    """The shape of a checkpoint; None: its configuration leaves some of it to its family."""
    try:
        return msgspec.json.decode((folder / "config.json").read_bytes(), type=Shape)
    except msgspec.ValidationError:
        return None


SHAPES = {
    "M": Shape(
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151936,
        tie_word_embeddings=True,
    ),
    "S": Shape(
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        vocab_size=8192,
        tie_word_embeddings=False,
    ),
}
FAMILIES: dict[str, dict[str, object]] = {
    "M": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "rope_theta": 1e6},
    "S": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "rope_theta": 1e4},
}


def write(name: str, folder: Path) -> None:
    """A checkpoint in Hugging Face layout."""
    shape = SHAPES[name]
    folder.mkdir(parents=True, exist_ok=True)
    made = tokenizer(shape.vocab_size)
    made.save(str(folder / "tokenizer.json"))
    words = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": SPECIAL[0], "eos_token": SPECIAL[2]}
    ends = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
    fixed = {"torch_dtype": "bfloat16", "hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 4096}
    about = {field: getattr(shape, field) for field in Shape.__struct_fields__}
    pages = {
        "config": FAMILIES[name] | about | fixed | ends,
        "generation_config": ends | {"do_sample": False},
        "tokenizer_config": words,
    }
    for page, told in pages.items():
        (folder / f"{page}.json").write_text(json.dumps(told, indent=1))
    found = dict(weights(shape, has_head_norms=name == "M"))
    head = found["model.embed_tokens.weight" if shape.tie_word_embeddings else "lm_head.weight"]
    head[: len(SPECIAL) + 256] = 0
    head[made.get_vocab_size() :] = 0
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})


def tokenizer(size: int) -> Tokenizer:
    """Special tokens, bytes, then pairs and triples of letters up to `size`."""
    letters = string.ascii_lowercase
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [(one, other) for one in letters for other in letters]
    merges = [*pairs, *((one + other, third) for one, other in pairs for third in letters)]
    merges = merges[: size - len(SPECIAL) - len(bytes_)]
    words = [*SPECIAL, *bytes_, *map("".join, merges)]
    made = Tokenizer(BPE({word: at for at, word in enumerate(words)}, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(SPECIAL)
    return made


def weights(shape: Shape, has_head_norms: bool) -> Iterator[tuple[str, Tensor]]:
    draw = torch.Generator().manual_seed(0)
    wide, inner, head = shape.hidden_size, shape.intermediate_size, shape.head_dim
    queries, keys = shape.num_attention_heads * head, shape.num_key_value_heads * head

    def drawn(*size: int) -> Tensor:
        return (torch.randn(*size, generator=draw) * DEVIATION).bfloat16()

    def norm(size: int, value: float = 1.0) -> Tensor:
        return torch.full((size,), value, dtype=torch.bfloat16)

    yield "model.embed_tokens.weight", drawn(shape.vocab_size, wide)
    for layer in range(shape.num_hidden_layers):
        block = f"model.layers.{layer}"
        yield f"{block}.input_layernorm.weight", norm(wide)
        for part, rows in {"q": queries, "k": keys, "v": keys}.items():
            yield f"{block}.self_attn.{part}_proj.weight", drawn(rows, wide)
        if has_head_norms:
            yield f"{block}.self_attn.q_norm.weight", norm(head)
            yield f"{block}.self_attn.k_norm.weight", norm(head)
        yield f"{block}.self_attn.o_proj.weight", drawn(wide, queries)
        yield f"{block}.post_attention_layernorm.weight", norm(wide)
        yield f"{block}.mlp.gate_proj.weight", drawn(inner, wide)
        yield f"{block}.mlp.up_proj.weight", drawn(inner, wide)
        yield f"{block}.mlp.down_proj.weight", drawn(wide, inner)
    yield "model.norm.weight", norm(wide, SHARPNESS)
    if not shape.tie_word_embeddings:
        yield "lm_head.weight", drawn(shape.vocab_size, wide)


if __name__ == "__main__":
    for name in sys.argv[2:] or SHAPES:
        write(name, Path(sys.argv[1]) / name)
