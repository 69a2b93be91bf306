"""A tokenizer of any size for benchmarks of grammars, trained on what text lies on this machine.

python -m benchmarks.structured.vocabulary FOLDER --size 32000 --texts DIRECTORY [--megabytes 40]
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SUFFIXES = {".py", ".md", ".txt", ".json", ".rst", ".h", ".pyi", ".html"}
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def texts_of(folder: Path, megabytes: int) -> Iterator[str]:
    left = megabytes << 20
    for path in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file()):
        text = path.read_text(encoding="utf-8", errors="ignore")[:200_000]
        left -= len(text)
        if left < 0:
            return
        yield text


def main() -> None:
    parser = argparse.ArgumentParser(description="train a byte-level BPE tokenizer")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=32_000)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--megabytes", type=int, default=40)
    args = parser.parse_args()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=args.size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts_of(args.texts, args.megabytes), trainer)
    args.folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(args.folder / "tokenizer.json"))
    print(f"{tokenizer.get_vocab_size()} tokens in {args.folder}")


if __name__ == "__main__":
    main()
