"""Small tokenizers of the two kinds, made on the spot."""

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors

from stemma.front.text.tokenizer import BYTE_OF_SIGN, Tokenizer

EOS = "<|im_end|>"
SIGN_OF_BYTE = {byte: sign for sign, byte in BYTE_OF_SIGN.items()}
WORDS = (" the", "the", " cat", "ing", " stop", "é", "ü", "😀", " 日本", "本", "\n\n", " e\u0301")


def spelled(text: str) -> str:
    """As byte-level vocabularies write it."""
    return "".join(SIGN_OF_BYTE[byte] for byte in text.encode())


def byte_level_backend() -> tokenizers.Tokenizer:
    """The id of a byte is its value; then pieces of characters and words, then three specials, then two that show."""
    vocab = {SIGN_OF_BYTE[byte]: byte for byte in range(256)}
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        whole = spelled(word)
        for at in range(2, len(whole) + 1):
            if whole[:at] not in vocab:
                vocab[whole[:at]] = len(vocab)
                merges.append((whole[: at - 1], whole[at - 1]))
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>", "<|im_start|>", EOS])
    backend.add_tokens([AddedToken("<think>", special=False), AddedToken("naïve token", special=False)])
    return backend


def metaspace_backend(style: str = "llama") -> tokenizers.Tokenizer:
    """SentencePiece-like: pieces of text, bytes for what they do not cover; `style` names the decoder's form."""
    vocab = {"<unk>": 0, "<s>": 1, EOS: 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    merges: list[tuple[str, str]] = []
    for sign in ("▁", *"abcdefghijklmnopqrstuvwxyz", "é", "日", "▁▁"):
        vocab.setdefault(sign, len(vocab))
    for left, right in (
        ("▁", "▁"),
        ("▁", "t"),
        ("h", "e"),
        ("▁t", "he"),
        ("▁", "a"),
        ("a", "t"),
        ("i", "n"),
        ("in", "g"),
    ):
        vocab.setdefault(left + right, len(vocab))
        merges.append((left, right))
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges, byte_fallback=True, unk_token="<unk>"))
    if style == "metaspace":
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    else:
        begins = [normalizers.Prepend("▁")] if style == "llama" else []
        backend.normalizer = normalizers.Sequence([*begins, normalizers.Replace(" ", "▁")])
        strips = [decoders.Strip(" ", 1, 0)] if style == "llama" else []
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strips]
        backend.decoder = decoders.Sequence(steps)
    backend.add_special_tokens(["<unk>", "<s>", EOS])
    backend.add_tokens([AddedToken("<think>", special=False)])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return backend


def vocabularies() -> dict[str, Tokenizer]:
    return {"byte level": Tokenizer(byte_level_backend(), EOS)} | {
        style: Tokenizer(metaspace_backend(style), EOS) for style in ("llama", "gemma", "metaspace")
    }
