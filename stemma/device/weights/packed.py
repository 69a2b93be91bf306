"""Packed weights on disk, so that a checkpoint is packed once.

A file is named by all that went into it: the checkpoint's files (names, sizes, times, headers), the model's fields, the
format and the kernels that laid it. It begins with the sizes of its parts; what does not fit them is made anew. It is
written aside and renamed, so nobody reads half of one. The last few are kept.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stemma.core.config.engine import EngineConfig
from stemma.core.config.env import cache_folder
from stemma.device.ops.cpu.build import build

WORTH_BYTES = 64 << 20  # below, packing takes less time than anyone notices
KEPT = 4  # files
_LENGTH_BYTES = 8

_log = logging.getLogger(__name__)


def load_once(config: EngineConfig, parts: Sequence[Tensor], load: Callable[[], None]) -> None:
    """Fill all parts from the file of this checkpoint and format; else by `load`, and keep them for the next time."""
    if config.device.weights == "plain" or sum(part.nbytes for part in parts) < WORTH_BYTES:
        return load()
    file = cache_folder() / "packed" / f"{_digest(config)}.bin"
    views = [np.asarray(part.view(torch.uint8).flatten()).data for part in parts]
    if not _read(file, views):
        load()
        _keep(file, views)


def _digest(config: EngineConfig) -> str:
    device = config.device
    laid = build(device.kernels).name if device.is_native else device.kernels
    digest = hashlib.sha256(repr((config.model, device.dtype, device.weights, laid)).encode())
    for file in sorted(Path(config.model_path).glob("*.safetensors")):
        found = file.stat()
        digest.update(repr((file.name, found.st_size, found.st_mtime_ns)).encode())
        with file.open("rb") as opened:
            digest.update(opened.read(int.from_bytes(opened.read(_LENGTH_BYTES), "little")))
    return digest.hexdigest()[:32]


def _header(views: Sequence[memoryview]) -> bytes:
    sizes = json.dumps([view.nbytes for view in views]).encode()
    return len(sizes).to_bytes(_LENGTH_BYTES, "little") + sizes


def _read(file: Path, views: Sequence[memoryview]) -> bool:
    """Whether the file was there and whole."""
    header = _header(views)
    try:
        with file.open("rb", buffering=0) as opened:
            whole = len(header) + sum(view.nbytes for view in views)
            if os.fstat(opened.fileno()).st_size != whole or opened.read(len(header)) != header:
                return False
            for view in views:
                done = 0
                while done < view.nbytes:  # a read gives 2 GiB at most
                    done += opened.readinto(view[done:]) or view.nbytes
        os.utime(file)
    except OSError:
        return False
    _log.info("packed weights come from %s", file)
    return True


def _keep(file: Path, views: Sequence[memoryview]) -> None:
    """Write the file, unless it would take more than half of what is free. Nothing depends on it."""
    growing = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if 2 * sum(view.nbytes for view in views) > shutil.disk_usage(file.parent).free:
            return
        with growing.open("wb", buffering=0) as opened:
            opened.write(_header(views))
            for view in views:
                done = 0
                while done < view.nbytes:
                    done += opened.write(view[done:])
        growing.rename(file)
        by_use = sorted(file.parent.glob("*.bin"), key=lambda each: each.stat().st_mtime_ns)
        for old in by_use[:-KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        growing.unlink(missing_ok=True)
        _log.warning("packed weights are not kept: %s", error)
