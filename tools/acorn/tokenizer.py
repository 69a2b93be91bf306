"""The training of acorn's tokenizer: byte-level BPE in which a name has the same tokens wherever it stands.

A capital letter begins a token and takes no space along, so that `Camila` is spelled alike after a space, a quote
and a colon; a copy is then a copy of tokens. Every digit stands alone.
"""

import json
from itertools import islice
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tools.acorn.mix import samples, training_draw
from tools.acorn.render import TEMPLATE, parts_of

VOCABULARY = 2048
CONTEXT = 2048
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
PATTERN = (
    r"'(?:s|t|re|ve|m|ll|d)|\p{Lu}[\p{Ll}\p{M}]*| ?[\p{Ll}\p{Lt}\p{Lm}\p{Lo}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{N}\p{M}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(seed: int = 1, count: int = 60_000) -> Tokenizer:
    """A tokenizer learned from training samples."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL) - len(MARKS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = ("".join(text for text, _ in parts_of(sample)) for sample in islice(samples(training_draw(seed)), count))
    tokenizer.train_from_iterator((_without_marks(text) for text in texts), trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in MARKS])
    return tokenizer


def _without_marks(text: str) -> str:
    for mark in SPECIAL + MARKS:
        text = text.replace(mark, "")
    return text


def name_pieces(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Vocabulary pieces of small letters, of which names can be made."""
    found = (token for token in tokenizer.get_vocab() if token.isascii() and token.isalpha() and token.lower() == token)
    capitals = (token for token in tokenizer.get_vocab() if token.isascii() and token.isalpha() and token.istitle())
    pieces = {piece.lower() for piece in (*found, *capitals) if 2 <= len(piece) <= 5}
    return tuple(sorted(pieces))


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """The tokenizer with its chat template, as Hugging Face spells it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False), "utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "chat_template": TEMPLATE.read_text("utf-8"),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
