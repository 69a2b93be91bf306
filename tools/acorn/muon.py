"""Muon: momentum made orthogonal, for the matrices inside the layers."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor
from torch.optim import Optimizer

# Coefficients of the quintic Newton-Schulz iteration by Keller Jordan.
A, B, C = 3.4445, -4.7750, 2.0315
# Matrices made orthogonal at a time.
PART = 6

Pairs = list[tuple[Tensor, Tensor]]


def orthogonal(stack: Tensor, steps: int) -> Tensor:
    """Every matrix of a stack with its singular values pushed towards one; rows are not more than columns."""
    x = stack.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = A * x + torch.baddbmm(gram, gram, gram, beta=B, alpha=C) @ x
    made: Tensor = x.float()
    return made


class Muon(Optimizer):
    """Matrices of the same sides are made orthogonal together."""

    def __init__(
        self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95, decay: float = 0.01, steps: int = 5
    ) -> None:
        super().__init__(list(matrices), {"lr": lr, "momentum": momentum, "decay": decay, "steps": steps})
        self.run: Callable[[Callable[[Pairs], None], list[Pairs]], Iterable[None]] = map

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure is ever given
        """One update from the gradients."""
        for group in self.param_groups:
            stacks: dict[tuple[int, int], Pairs] = {}
            for matrix in group["params"]:
                state = self.state[matrix]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(matrix)
                state["momentum"].lerp_(matrix.grad, 1 - group["momentum"])
                update = matrix.grad.lerp(state["momentum"], group["momentum"])
                flat = update.mT if matrix.shape[0] > matrix.shape[1] else update
                stacks.setdefault((flat.shape[0], flat.shape[1]), []).append((matrix, flat))
            parts = [pairs[begin : begin + PART] for pairs in stacks.values() for begin in range(0, len(pairs), PART)]
            list(self.run(partial(_apply, lr=group["lr"], decay=group["decay"], steps=group["steps"]), parts))


@torch.no_grad()
def _apply(pairs: Pairs, lr: float, decay: float, steps: int) -> None:
    """Move matrices of the same sides along their orthogonal updates."""
    made = orthogonal(torch.stack([flat for _, flat in pairs]), steps)
    for (matrix, _), update in zip(pairs, made, strict=True):
        rows, columns = matrix.shape
        matrix.mul_(1 - lr * decay)
        matrix.add_(update.mT if rows > columns else update, alpha=-lr * max(1.0, rows / columns) ** 0.5)
