"""Where each tensor of a checkpoint goes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from stemma.device.ops.matrix import Matrix

Names = Mapping[str, tuple[str, ...]]
Lay = Callable[[Matrix, int, Tensor], None]


class Place(Protocol):
    """What waits for a tensor: one of a model's, or rows of a matrix."""

    @property
    def shape(self) -> Sequence[int]: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def copy_(self, numbers: Tensor, /) -> object: ...


@dataclass(slots=True, frozen=True)
class Rows:
    """Outputs of a matrix that stand together."""

    matrix: Matrix
    first: int
    count: int
    lay: Lay

    @property
    def shape(self) -> Sequence[int]:
        return self.count, self.matrix.inputs

    @property
    def dtype(self) -> torch.dtype:
        return self.matrix.dtype

    def copy_(self, numbers: Tensor) -> None:
        self.lay(self.matrix, self.first, numbers)


def weight(dtype: torch.dtype, *shape: int) -> nn.Parameter:
    """A parameter that waits for its numbers. Not on the meta device: leaving that imports 40 MiB and half a second."""
    return nn.Parameter(torch.empty(shape, dtype=dtype), requires_grad=False)


def places(model: nn.Module, names: Names, lay: Lay) -> dict[str, Place]:
    """Checkpoint name -> the memory to fill: a parameter or a matrix, or the rows of a merged one that are its part.

    `names` translates the words of our paths; a merged module's word has one translation for each of its `parts`.
    """
    found: dict[str, Place] = {}
    for path, module in model.named_modules():
        *above, own = path.split(".")
        prefix = "".join(f"{names.get(word, (word,))[0]}." for word in above)
        for leaf, whole in held(module):
            views = _parts(whole, getattr(module, "parts", None), lay)
            for word, view in zip(names.get(own, (own,)), views, strict=True):
                found[f"{prefix}{word}.{leaf}"] = view
    return found


def held(module: nn.Module) -> list[tuple[str, Tensor | Matrix]]:
    """The numbers that a module itself has, by their names in it."""
    parameters = [(name, parameter.data) for name, parameter in module.named_parameters(recurse=False)]
    return [*((name, value) for name, value in vars(module).items() if isinstance(value, Matrix)), *parameters]


def _parts(whole: Tensor | Matrix, parts: Sequence[int] | None, lay: Lay) -> Sequence[Place]:
    if isinstance(whole, Tensor):
        return torch.split(whole, list(parts or whole.shape[:1]))
    counts = parts or (whole.outputs,)
    return [Rows(whole, sum(counts[:place]), count, lay) for place, count in enumerate(counts)]
