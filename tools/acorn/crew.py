"""Workers that compute the gradients of one step together.

Each is a thread on one core with a copy of the model that shares the weights and has its own gradients. A step is cut
into pieces and whoever is free takes the next, so that a core which is busy with other programs holds up no one.
"""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import torch
from torch import Tensor
from torch.nn import functional as F

from tools.acorn.model import Acorn
from tools.acorn.packing import NOT_LEARNED

# Tokens and targets of some rows.
Piece = tuple[Tensor, Tensor]


class Worker:
    """One copy of the model. Its weights are those of the original, which alone is changed by the optimizers."""

    def __init__(self, original: Acorn, device: str, compiles: bool) -> None:
        self.model = copy.deepcopy(original)
        for mine, shared in zip(self.model.parameters(), original.parameters(), strict=True):
            mine.data = shared.data
        self.device = device
        self.forward: Callable[[Tensor], Tensor] = torch.compile(self.model, dynamic=False) if compiles else self.model

    def learn(self, piece: Piece, count: int) -> float:
        """Add the gradients of a piece, of which `count` learned tokens make the whole; its share of the loss."""
        tokens_BT, targets_BT = (side.to(self.device) for side in piece)
        is_learned = targets_BT != NOT_LEARNED
        with torch.autocast(self.device, torch.bfloat16):
            scores = self.model.logits(self.forward(tokens_BT)[is_learned])
        loss = F.cross_entropy(scores.float(), targets_BT[is_learned], reduction="sum") / count
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no type for it
        return loss.item()


class Crew:
    """All workers of a run."""

    def __init__(self, original: Acorn, workers: int, device: str, compiles: bool) -> None:
        self.original = original
        self.workers = [Worker(original, device, compiles) for _ in range(workers)]
        self.pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
        self.is_warm = False

    def gradients(self, pieces: Sequence[Piece], count: int, meanwhile: Callable[[], None]) -> float:
        """Put the gradients of all pieces into the original; their loss."""
        queue = SimpleQueue[Piece]()
        for piece in pieces:
            queue.put(piece)

        def work(worker: Worker) -> float:
            total = 0.0
            worker.model.zero_grad()
            while not queue.empty():
                total += worker.learn(queue.get(), count)
            return total

        # Compilers are not fond of threads: the first step goes one worker after the other.
        results = [self.pool.submit(work, worker) for worker in self.workers[: None if self.is_warm else 1]]
        meanwhile()
        loss = sum(result.result() for result in results)
        self.is_warm = True
        self._collect()
        return loss

    @torch.no_grad()
    def _collect(self) -> None:
        originals = list(self.original.parameters())
        for worker in self.workers:
            for mine, shared in zip(worker.model.parameters(), originals, strict=True):
                if mine.grad is not None:
                    shared.grad = (
                        mine.grad if worker is self.workers[0] or shared.grad is None else shared.grad + mine.grad
                    )
