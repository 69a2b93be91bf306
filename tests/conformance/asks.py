"""Random wishes of rows, what plain torch makes of them, and the records that tell them to native code.

V vocabulary
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stemma.core.types.sampling import LogprobSpec, SamplingParams
from stemma.device.ops.cpu.sampling import ASK, WANT, Records
from stemma.device.ops.reference.sample import draw

T = TypeVar("T")


@dataclass(frozen=True)
class Wish:
    """What one row asks for at one position."""

    sampling: SamplingParams
    seed: int = 0
    tokens: tuple[int, ...] = (0,)
    prompt_len: int = 1
    stop_ids: tuple[int, ...] = ()
    allowed_V: Tensor | None = None
    spec: LogprobSpec | None = None

    def processed(self, logits_V: Tensor) -> Tensor:
        """The logits after penalties, ban, biases and grammar: the rules of the worker over a whole vocabulary."""
        asked, output = self.sampling, torch.tensor(self.tokens[self.prompt_len :], dtype=torch.int64)
        counts_V = output.bincount(minlength=len(logits_V))
        seen_V = counts_V > 0
        logits_V = logits_V - counts_V * asked.frequency_penalty - seen_V * asked.presence_penalty
        if len(output) < asked.min_new_tokens:
            logits_V[list(self.stop_ids)] = -torch.inf
        scaled_V = torch.where(logits_V > 0, logits_V / asked.repetition_penalty, logits_V * asked.repetition_penalty)
        logits_V = torch.where(seen_V, scaled_V, logits_V)
        for id, value in asked.logit_bias.items():
            logits_V[id] += value
        logits_V = logits_V.clamp(max=torch.finfo(torch.float32).max)
        return logits_V if self.allowed_V is None else logits_V.where(self.allowed_V, -torch.inf)

    def tempered(self, logits_V: Tensor) -> Tensor:
        return (logits_V - logits_V.max()) / self.sampling.divisor

    def token(self, logits_V: Tensor) -> int:
        """The reference's draw from processed logits."""
        asked = self.sampling
        if asked.is_greedy:
            return int(logits_V.argmax())
        position = len(self.tokens)
        return int(draw(self.tempered(logits_V), self.seed, position, asked.top_k, asked.top_p, asked.min_p))


def random_wish(random: Random, vocab: int) -> Wish:
    """Each wish is there half of the time or less."""

    def sometimes(value: T, otherwise: T, share: float = 0.3) -> T:
        return value if random.random() < share else otherwise

    prompt = [random.randrange(vocab) for _ in range(random.randint(1, 5))]
    output = [random.randrange(vocab) for _ in range(random.randint(0, 60))]
    sampling = SamplingParams(
        temperature=random.choice([0.0, 0.3, 0.8, 1.0, 1.0, 2.5]),
        top_k=sometimes(random.choice([1, 2, 7, 50, 1500]), -1),
        top_p=sometimes(random.uniform(0.01, 0.999), 1.0, 0.5),
        min_p=sometimes(random.uniform(0, 0.4), 0.0),
        frequency_penalty=sometimes(random.uniform(-2, 2), 0.0),
        presence_penalty=sometimes(random.uniform(-2, 2), 0.0),
        repetition_penalty=sometimes(random.choice([0.5, 1.3, 2.0, 1e-38]), 1.0),
        logit_bias=sometimes({id: random.uniform(-9, 9) for id in random.sample(range(vocab), min(vocab, 5))}, {}),
        min_new_tokens=sometimes(random.randint(0, 80), 0, 0.5),
    )
    mask = torch.tensor([random.random() for _ in range(64)]).repeat(vocab // 64 + 1)[:vocab] < random.random()
    stop_ids = random.sample(range(vocab), min(vocab - 1, 3))
    mask[next(id for id in range(vocab) if id not in stop_ids)] = True  # somebody is always left
    return Wish(
        sampling=sampling,
        seed=random.randrange(-(2**63), 2**63),
        tokens=tuple(prompt + output),
        prompt_len=len(prompt),
        stop_ids=sometimes(tuple(stop_ids), ()),
        allowed_V=sometimes(mask, None),
        spec=sometimes(LogprobSpec(top=random.choice([0, 1, 5, 128]), token_ids=(0, vocab - 1)), None),
    )


@dataclass
class Told:
    """Records, and what their addresses point to."""

    asks: Records
    wants: Records
    kept: list[NDArray[np.number]] = field(default_factory=list)

    @classmethod
    def of(cls, wishes: Sequence[Wish], vocab: int) -> "Told":
        told = cls(np.zeros(len(wishes), ASK), np.zeros(sum(wish.spec is not None for wish in wishes), WANT))
        wanted = 0
        for row, wish in enumerate(wishes):
            told._ask(row, wish)
            if wish.spec is not None:
                ids = wish.spec.token_ids
                told.wants[wanted] = (told._address(ids, np.int32), row, len(ids), min(wish.spec.top, vocab))
                wanted += 1
        return told

    def _ask(self, row: int, wish: Wish) -> None:
        asked, ask = wish.sampling, self.asks[row]
        bias = asked.logit_bias
        ask["tokens"] = self._address(wish.tokens, np.int32)
        ask["stop_ids"], ask["num_stops"] = self._address(wish.stop_ids, np.int32), len(wish.stop_ids)
        ask["bias_ids"], ask["num_biases"] = self._address(tuple(bias), np.int32), len(bias)
        ask["bias_values"] = self._address(tuple(bias.values()), np.float32)
        if wish.allowed_V is not None:
            bits = np.packbits(wish.allowed_V.numpy(), bitorder="little")
            words = np.trim_zeros(np.pad(bits, (0, -len(bits) % 4)).view(np.uint32), "b")
            ask["mask"], ask["num_words"] = self._address(words, np.uint32), len(words)
        ask["seed"], ask["prompt_len"], ask["position"] = wish.seed, wish.prompt_len, len(wish.tokens)
        ask["divisor"], ask["top_k"], ask["top_p"], ask["min_p"] = asked.divisor, asked.top_k, asked.top_p, asked.min_p
        ask["frequency"], ask["presence"] = asked.frequency_penalty, asked.presence_penalty
        ask["repetition"], ask["min_new_tokens"] = asked.repetition_penalty, asked.min_new_tokens
        ask["greedy"], ask["scored"] = asked.is_greedy, wish.spec is not None

    def _address(self, values: Sequence[float] | NDArray[np.uint32], dtype: type) -> int:
        self.kept.append(np.array(values, dtype))
        return self.kept[-1].ctypes.data
