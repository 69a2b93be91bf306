"""Where each tensor of a checkpoint goes."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Names = Mapping[str, tuple[str, ...]]


def weight(dtype: torch.dtype, *shape: int) -> nn.Parameter:
    """A parameter that waits for its numbers. Not on the meta device: leaving that imports 40 MiB and half a second."""
    return nn.Parameter(torch.empty(shape, dtype=dtype), requires_grad=False)


def places(model: nn.Module, names: Names) -> dict[str, Tensor]:
    """Checkpoint name -> the memory to fill: a parameter, or the rows of a merged one that are its part.

    `names` translates the words of our paths; a merged module's word has one translation for each of its `parts`.
    """
    found: dict[str, Tensor] = {}
    for path, module in model.named_modules():
        *above, own = path.split(".")
        prefix = "".join(f"{names.get(word, (word,))[0]}." for word in above)
        for leaf, parameter in module.named_parameters(recurse=False):
            views = parameter.data.split(getattr(module, "parts", parameter.shape[0]))
            for word, view in zip(names.get(own, (own,)), views, strict=True):
                found[f"{prefix}{word}.{leaf}"] = view
    return found
