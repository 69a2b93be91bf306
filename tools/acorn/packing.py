"""Samples packed into rows of equal length.

Always: a sample lies in one row, whole; what is left of a row is filled with padding, which is not learned.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from tokenizers import Tokenizer
from torch import Tensor

from tools.acorn.draw import Draw
from tools.acorn.mix import samples
from tools.acorn.render import Part, parts_of

NOT_LEARNED = -100
WAITING = 256
READY = 24


@dataclass(frozen=True, slots=True)
class Encoded:
    """The tokens of one sample, and for each whether it is learned."""

    tokens: list[int]
    learned: list[bool]


def encode(tokenizer: Tokenizer, many: list[list[Part]]) -> list[Encoded]:
    """Samples in tokens, each part for itself."""
    pieces = iter(tokenizer.encode_batch([text for parts in many for text, _ in parts], add_special_tokens=False))
    encoded = []
    for parts in many:
        tokens, learned = list[int](), list[bool]()
        for _, is_learned in parts:
            ids = next(pieces).ids
            tokens += ids
            learned += [is_learned] * len(ids)
        encoded.append(Encoded(tokens, learned))
    return encoded


def take_row(waiting: list[Encoded], length: int) -> list[Encoded]:
    """Samples that fill `length` tokens nearly: the oldest, so that none waits for ever, and others that fit."""
    row = [waiting.pop(0)]
    left = length - len(row[0].tokens)
    while fitting := [sample for sample in waiting if len(sample.tokens) <= left]:
        best = max(fitting, key=lambda sample: len(sample.tokens)) if left < length // 2 else fitting[0]
        waiting.remove(best)
        row.append(best)
        left -= len(best.tokens)
    return row


def fill(packed: list[list[Encoded]], length: int, padding: int) -> tuple[Tensor, Tensor]:
    """Rows of samples as inputs and targets of `length` tokens."""
    tokens = torch.full((len(packed), length + 1), padding)
    targets = torch.full((len(packed), length + 1), NOT_LEARNED)
    for place, row in enumerate(packed):
        ids = [token for sample in row for token in sample.tokens]
        learned = [
            token if is_learned else NOT_LEARNED
            for sample in row
            for token, is_learned in zip(sample.tokens, [False, *sample.learned[1:]], strict=True)
        ]
        tokens[place, : len(ids)] = torch.tensor(ids)
        targets[place, : len(ids)] = torch.tensor(learned)
    return tokens[:, :-1], targets[:, 1:]


def batches(draw: Draw, tokenizer: Tokenizer, lengths: Sequence[int], count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets of about `count` tokens, the short samples in short rows, which cost less.

    A sample that is longer than the last length is left out.
    """
    stream, padding = samples(draw), tokenizer.encode("<|endoftext|>").ids[0]
    waiting: dict[int, list[Encoded]] = {length: [] for length in lengths}
    # Some are kept back and shuffled, so that short and long rows come by turns.
    ready: list[tuple[Tensor, Tensor]] = []
    while True:
        for sample in encode(tokenizer, [parts_of(sample) for sample in islice(stream, WAITING)]):
            fitting = [length for length in lengths if len(sample.tokens) <= length + 1]
            if fitting:
                waiting[fitting[0]].append(sample)
        for length, queue in waiting.items():
            while sum(len(sample.tokens) for sample in queue) > 3 * count:
                packed = [take_row(queue, length + 1) for _ in range(count // length)]
                for row in packed:
                    draw.rng.shuffle(row)
                ready.append(fill(packed, length, padding))
        draw.rng.shuffle(ready)
        while len(ready) > READY:
            yield ready.pop()


def fresh_seed(seed: int, step: int) -> int:
    """A seed for the text from this step on, so that a resumed run reads new text."""
    return random.Random(f"{seed}:{step}").getrandbits(62)
