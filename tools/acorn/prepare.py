"""Make acorn's folder with its tokenizer, its config and random weights: `python -m tools.acorn.prepare`."""

import argparse
from pathlib import Path

import torch

from tools.acorn.checkpoint import folder_bytes, save_config, save_weights
from tools.acorn.model import Acorn, Shape
from tools.acorn.tokenizer import save_tokenizer, train_tokenizer


def main() -> None:
    """Train the tokenizer and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("models/acorn"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    tokenizer, shape = train_tokenizer(options.seed), Shape()
    save_tokenizer(tokenizer, options.folder)
    save_config(shape, tokenizer, options.folder)
    save_weights(Acorn(shape).state_dict(), options.folder)
    print(f"{options.folder}: {tokenizer.get_vocab_size()} tokens, {folder_bytes(options.folder):,} bytes")


if __name__ == "__main__":
    main()
