"""What rows ask of the draw of their tokens, as records with addresses of the device (ops/cpu/sampling.py).

Shapes: R rows that sit, N rows of a step, W of them whose log-probabilities are wanted
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stemma.core.types.sampling import LogprobSpec
from stemma.device.ops.cpu.sampling import ASK, WANT, Records
from stemma.device.ops.inputs import Ints
from stemma.device.worker.rows import Row

_NO_LOGPROBS = LogprobSpec()


class Asks:
    """Written down when a row sits; a step adds positions and masks. Owned by the worker."""

    def __init__(self, token_addresses: Ints, vocab_size: int, seed: int, upload: Callable[[Ints], Tensor]):
        self._asks_R = np.zeros(len(token_addresses), ASK)
        self._wants_R = np.zeros(len(token_addresses), WANT)
        self._asks_R["tokens"] = token_addresses
        self._vocab_size = vocab_size
        self._seed = seed  # of rows that brought none
        self._upload = upload
        self.sat = 0  # how often somebody sat down: as long as it stays, records do
        self._lists: dict[int, Tensor] = {}  # keeps alive what the records hold addresses of
        self.idle = np.zeros(1, ASK)  # asked by who fills up a step
        for name, value in (("divisor", 1), ("repetition", 1), ("top_p", 1), ("top_k", -1), ("greedy", True)):
            self.idle[name] = value

    def sit(self, number: int, row: Row) -> None:
        """Lists are copied to the device only if there are any; stop ids only if they are banned for a while."""
        self.sat += 1
        asked, wanted = row.sampling, row.logprobs or _NO_LOGPROBS
        ask, want = self._asks_R[number], self._wants_R[number]
        stop_ids = row.stop_ids if asked.min_new_tokens else row.stop_ids[:0]
        lists = [stop_ids, row.bias_ids, row.bias_values.view(np.int32), np.array(wanted.token_ids, np.int32)]
        address = 0
        self._lists.pop(number, None)
        if any(map(len, lists)):
            there = self._lists[number] = self._upload(np.concatenate(lists))
            address = there.data_ptr()
        ends = 4 * np.cumsum([0, *map(len, lists)])
        ask["stop_ids"], ask["bias_ids"], ask["bias_values"], want["chosen_ids"] = address + ends[:4]
        ask["num_stops"], ask["num_biases"], want["num_chosen"] = len(lists[0]), len(lists[1]), len(lists[3])
        for name in ("divisor", "top_p", "min_p", "top_k", "min_new_tokens"):
            ask[name] = getattr(asked, name)
        for name in ("frequency", "presence", "repetition"):
            ask[name] = getattr(asked, f"{name}_penalty")
        ask["seed"] = self._seed if asked.sampling_seed is None else asked.sampling_seed
        ask["prompt_len"], ask["greedy"], ask["scored"] = row.prompt_len, asked.is_greedy, row.logprobs is not None
        want["top"] = min(wanted.top, self._vocab_size)

    def of(self, row_N: Ints, position_N: Ints, is_drawn_N: NDArray[np.bool_]) -> Records:
        """The records of tokens to be drawn at these positions; those that are not are idle."""
        asks_N: Records = self._asks_R[row_N]
        asks_N["position"] = position_N
        if not is_drawn_N.all():
            asks_N[~is_drawn_N] = self.idle
        return asks_N

    def wants(self, row_W: Ints, place_W: Ints) -> Records:
        """The records of the log-probabilities that rows want, of logits at these places."""
        wants_W: Records = self._wants_R[row_W]
        wants_W["row"] = place_W
        return wants_W
