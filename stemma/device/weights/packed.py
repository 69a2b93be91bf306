"""Packed weights on disk, so that a checkpoint is packed once and later starts map what was packed.

A file is named by all that went into it: the checkpoint's files (names, sizes, times, headers), the model's fields, the
format, and the kernels that laid it with the sizes of what they laid. It has no name until it is whole, so nobody reads
half of one and a process that is killed leaves nothing. The last few are kept.

It is written in large blocks: a file system that caches files on huge pages does so by the size of a write, and then
kernels stream weights from the system's cache as fast as from memory of their own. Where it does not, they are copied
to memory of their own.
"""

import hashlib
import logging
import mmap
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread

import numpy as np
import torch
from torch import Tensor

from stemma.core.config.engine import EngineConfig
from stemma.core.config.env import cache_folder
from stemma.device.ops.cpu.build import build
from stemma.device.ops.matrix import Matrix

WORTH_BYTES = 64 << 20  # below, packing takes less time than anyone notices
KEPT = 4  # files
KEEPER = "keeper of packed weights"  # the thread that writes them
_BLOCK_BYTES = 64 << 20  # of one write
_MOST = 0.9  # of a mapping that stands on huge pages
_LENGTH_BYTES = 8

_log = logging.getLogger(__name__)


def load_once(config: EngineConfig, parts: Sequence[Matrix | Tensor], load: Callable[[], None]) -> None:
    """Fill all parts from the file of this checkpoint and format; else by `load`, and keep them for the next time."""
    stores = [part.store for part in parts if isinstance(part, Matrix)]
    tensors = [*stores, *(part for part in parts if isinstance(part, Tensor))]  # large ones first, so all are aligned
    sizes = [tensor.nbytes for tensor in tensors]
    if not config.device.is_native or sum(sizes) < WORTH_BYTES:
        return load()
    file = cache_folder() / "packed" / f"{_digest(config, sizes)}.bin"
    whole = _mapped(file, sum(sizes))
    if whole is None:
        load()
        return Thread(target=_keep, args=(file, tensors), name=KEEPER, daemon=True).start()
    is_huge = stands_on_huge_pages(whole)
    for number, (tensor, found) in enumerate(zip(tensors, torch.split(whole, sizes), strict=True)):
        numbers = found.view(tensor.dtype).view(tensor.shape)
        if is_huge and number < len(stores):
            tensor.set_(numbers)  # type: ignore[call-overload]  # torch's stub lacks this form
        else:
            tensor.copy_(numbers)
    _log.info("packed weights are %s from %s", "mapped" if is_huge else "copied", file)


def stands_on_huge_pages(whole: Tensor) -> bool:
    """Whether the system maps nearly all of a file's mapping by huge pages (proc_pid_smaps(5))."""
    with open("/proc/self/smaps") as lines:
        begin = f"{whole.data_ptr():x}-"
        mapping = iter(lines) if any(line.startswith(begin) for line in lines) else iter(())
        kibibytes = next((int(line.split()[1]) for line in mapping if line.startswith("FilePmdMapped:")), 0)
    return kibibytes << 10 >= _MOST * whole.nbytes


def _digest(config: EngineConfig, sizes: list[int]) -> str:
    device = config.device
    laid = build(device.kernels).name, sizes
    digest = hashlib.sha256(repr((config.model, device.dtype, device.weights, laid)).encode())
    for file in sorted(Path(config.model_path).glob("*.safetensors")):
        found = file.stat()
        digest.update(repr((file.name, found.st_size, found.st_mtime_ns)).encode())
        with file.open("rb") as opened:
            digest.update(opened.read(int.from_bytes(opened.read(_LENGTH_BYTES), "little")))
    return digest.hexdigest()[:32]


def _mapped(file: Path, size: int) -> Tensor | None:
    """All of a file, brought into memory; None if there is none of this size."""
    try:
        with file.open("rb") as opened:
            if os.fstat(opened.fileno()).st_size != size:
                return None
            memory = mmap.mmap(opened.fileno(), size, access=mmap.ACCESS_COPY)
        os.utime(file)
    except OSError:
        return None
    memory.madvise(mmap.MADV_HUGEPAGE)
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    whole[:: mmap.PAGESIZE].sum()  # in the file's order, not in that of the first step
    return whole


def _keep(file: Path, tensors: Sequence[Tensor]) -> None:
    """Write the file, unless it would take more than half of what is free. Nothing depends on it."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if 2 * sum(tensor.nbytes for tensor in tensors) > shutil.disk_usage(file.parent).free:
            return
        with open(os.open(file.parent, os.O_TMPFILE | os.O_RDWR, 0o644), "wb") as growing:
            for block in _blocks(tensors):
                growing.write(block)
            growing.flush()
            file.unlink(missing_ok=True)
            place = growing.fileno()
            os.link(f"/proc/self/fd/{place}", file, src_dir_fd=place)  # the argument makes it linkat(2), which follows
        by_use = sorted(file.parent.iterdir(), key=lambda each: each.stat().st_mtime_ns)
        for old in by_use[:-KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("packed weights are not kept: %s", error)


def _blocks(tensors: Sequence[Tensor]) -> Iterator[memoryview]:
    """The bytes of all tensors, one after the other. A block is overwritten by the next."""
    block, filled = np.empty(_BLOCK_BYTES, np.uint8), 0
    for tensor in tensors:
        rest = np.asarray(tensor.view(torch.uint8).flatten())
        while len(rest):
            count = min(len(rest), _BLOCK_BYTES - filled)
            block[filled : filled + count], rest = rest[:count], rest[count:]
            filled += count
            if filled == _BLOCK_BYTES:
                yield block.data
                filled = 0
    yield block[:filled].data
