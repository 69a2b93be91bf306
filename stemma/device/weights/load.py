"""From safetensors files to memory that waits for them: nothing missing, nothing left over."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import torch
from msgspec import Struct
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stemma.core.base.errors import CheckpointError
from stemma.device.weights.places import Place

Progress = Callable[[int, int], None]  # bytes done, bytes in all

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_FLOATS = ("F32", "BF16", "F16")
_HARMLESS = "rotary_emb.inv_freq"  # old checkpoints store what config.json determines


class _Slice(Protocol):
    """A tensor of a file, not yet read."""

    def get_shape(self) -> list[int]: ...

    def get_dtype(self) -> str: ...


class _Index(Struct):
    weight_map: dict[str, str]


def load_safetensors(places: dict[str, Place], folder: Path, ignored: frozenset[str], progress: Progress) -> None:
    """Fill every place from the folder's files, one after the other, converting to the place's type.

    Files are mapped, never read whole: besides the places themselves no copy of a weight is made.
    """
    files = _files(folder)
    total = sum(file.stat().st_size for file in files)
    done = 0
    missing = dict.fromkeys(places)
    for file in files:
        for name, tensor in _tensors(file, places, ignored):
            if name not in missing:
                raise CheckpointError(f"{file}: tensor {name!r} was already in another file")
            del missing[name]
            places[name].copy_(tensor)
            done += tensor.nbytes
            progress(done, total)
    if missing:
        others = f" and {len(missing) - 1} more tensors are" if len(missing) > 1 else " is"
        raise CheckpointError(f"{_source(folder)}: tensor {next(iter(missing))!r}{others} missing")
    progress(total, total)


def fill_random(places: dict[str, Place], seed: int) -> None:
    """Small random matrices, norms of one, biases of zero; equal seeds give equal weights."""
    generator = torch.Generator(torch.get_default_device()).manual_seed(seed)
    for name, place in places.items():
        numbers = torch.empty(tuple(place.shape), dtype=place.dtype)
        if len(place.shape) > 1:
            place.copy_(numbers.normal_(0, 0.02, generator=generator))
        else:
            place.copy_(numbers.fill_(0 if name.endswith(".bias") else 1))


def _tensors(file: Path, places: dict[str, Place], ignored: frozenset[str]) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # it is no dict
                if name in ignored or name.endswith(_HARMLESS):
                    continue
                _check(file, name, opened.get_slice(name), places)
                with torch.device("cpu"):  # where the file is mapped, wherever tensors are made by default
                    tensor = opened.get_tensor(name)
                yield name, tensor
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged or cannot be read: {error}") from error


def _check(file: Path, name: str, found: _Slice, places: dict[str, Place]) -> None:
    if name not in places:
        raise CheckpointError(f"{file}: tensor {name!r} has no place in this model; is config.json of another one?")
    expected, shape = tuple(places[name].shape), tuple(found.get_shape())
    if shape != expected:
        raise CheckpointError(f"{file}: tensor {name!r} has shape {shape}; config.json asks for {expected}")
    if found.get_dtype() not in _FLOATS:
        raise CheckpointError(f"{file}: tensor {name!r} is {found.get_dtype()}; served are {', '.join(_FLOATS)}")


def _source(folder: Path) -> Path:
    """What says which files there are: the index of a sharded checkpoint, or the only file."""
    for name in (_SINGLE, _INDEX):
        if (folder / name).exists():
            return folder / name
    raise CheckpointError(f"{folder} has neither {_SINGLE} nor {_INDEX}; convert its weights to safetensors")


def _files(folder: Path) -> list[Path]:
    source = _source(folder)
    if source.name == _SINGLE:
        return [source]
    try:
        index = msgspec.json.decode(source.read_bytes(), type=_Index)
    except (msgspec.DecodeError, OSError) as error:
        raise CheckpointError(f"{source} is damaged or cannot be read: {error}") from error
    files = [folder / name for name in dict.fromkeys(index.weight_map.values())]
    for name, file in index.weight_map.items():
        if not (folder / file).is_file():
            raise CheckpointError(f"{folder / file} does not exist; {source} says that it holds {name!r}")
    return files
