"""Tiny random checkpoints in Hugging Face layout, saved by transformers itself, for every test that needs a model."""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

MODEL_TYPES = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>")
END_OF_TEXT, TURN_START, TURN_END = 256, 257, 258
VOCAB_SIZE = 264  # 256 bytes, the specials, and one id that no text has

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

DEFAULTS = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "bos_token_id": END_OF_TEXT,
    "eos_token_id": TURN_END,
    "pad_token_id": END_OF_TEXT,
    "tie_word_embeddings": False,
}


def tiny_checkpoint(
    folder: Path | str,
    architecture: str = "Qwen3ForCausalLM",
    seed: int = 0,
    dtype: str = "float32",
    max_shard_size: str = "1GB",
    **config_overrides: object,
) -> Path:
    """A complete model folder, tokenizer and chat template included. Equal arguments give equal bytes.

    Overrides are fields of transformers' config. Every parameter is random, norms and biases too,
    and wide enough for the model to prefer some tokens clearly.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = AutoConfig.for_model(MODEL_TYPES[architecture], **(DEFAULTS | config_overrides))
    config.architectures = [architecture]
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]  # its library
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name:
                parameter.copy_(1 + 0.1 * noise)
            elif parameter.dim() == 1:
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(noise / parameter.shape[1] ** 0.5 if "embed" not in name else noise)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=max_shard_size)
    ends = {"bos_token_id": END_OF_TEXT, "eos_token_id": [TURN_END, END_OF_TEXT], "pad_token_id": END_OF_TEXT}
    (folder / "generation_config.json").write_text(json.dumps(ends))
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer: the id of a byte is its value, the specials follow."""
    tokenizer = Tokenizer(models.BPE(vocab={sign: byte for byte, sign in enumerate(byte_signs())}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(special, special=True) for special in SPECIALS[:3]])
    tokenizer.add_tokens([AddedToken(special, special=False, normalized=False) for special in SPECIALS[3:]])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))


def byte_signs() -> list[str]:
    """The letters in which byte-level tokenizers write the bytes 0 to 255."""
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(256, 512))
    return [chr(byte if byte in shown else next(hidden)) for byte in range(256)]
