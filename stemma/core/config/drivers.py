"""Which accelerators are here, asked of their drivers without torch.

NVIDIA's driver library tells what torch will see (it heeds CUDA_VISIBLE_DEVICES) and makes no context; how much memory
is free, its management library knows. AMD's driver writes the same into /sys.
"""

import ctypes
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from stemma.core.config.accelerator import Accelerator, rated

# CUdevice_attribute of the CUDA driver API
_MULTIPROCESSORS, _MAJOR, _MINOR = 16, 75, 76
_NAME_BYTES = 256


class Library(Protocol):
    """A library of C functions, by name; each returns 0 when it succeeded."""

    def __getattr__(self, name: str) -> Callable[..., int]: ...


class _Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def find_accelerators(root: Path) -> tuple[Accelerator, ...]:
    """All that this process may use, in the order of their numbers. `root` is where /sys is found."""
    driver = _library("libcuda.so.1")
    found = () if driver is None else tuple(cuda_devices(driver, _library("libnvidia-ml.so.1")))
    return found or tuple(amd_devices(root))


def cannot_accelerate() -> str:
    """Why torch as it is installed uses no accelerator; empty: it may."""
    try:
        is_plain = version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return "torch is not installed"
    return "this torch is a build for processors only; install one for the accelerator" if is_plain else ""


def cuda_devices(driver: Library, management: Library | None) -> Iterator[Accelerator]:
    """Of the CUDA driver API and, for free memory, of NVML."""
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return
    for number in range(count.value):
        device, name, total = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
        failed = driver.cuDeviceGet(ctypes.byref(device), number)
        failed = failed or driver.cuDeviceGetName(name, _NAME_BYTES, device)
        if failed or driver.cuDeviceTotalMem_v2(ctypes.byref(total), device):
            continue
        facts = []
        for attribute in (_MAJOR, _MINOR, _MULTIPROCESSORS):
            value = ctypes.c_int()
            driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
            facts.append(value.value)
        major, minor, multiprocessors = facts
        found = Accelerator(
            name=name.value.decode(),
            platform="cuda",
            memory_bytes=total.value,
            free_bytes=_free_bytes(driver, management, device) or total.value,
            capability=(major, minor),
            multiprocessors=multiprocessors,
        )
        yield rated(found)


def _free_bytes(driver: Library, management: Library | None, device: ctypes.c_int) -> int | None:
    """None when the management library does not answer: then all of it counts as free."""
    bus = ctypes.create_string_buffer(_NAME_BYTES)
    if management is None or driver.cuDeviceGetPCIBusId(bus, _NAME_BYTES, device) or management.nvmlInit_v2():
        return None
    handle, memory = ctypes.c_void_p(), _Memory()
    if management.nvmlDeviceGetHandleByPciBusId_v2(bus, ctypes.byref(handle)):
        return None
    if management.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)):
        return None
    free: int = memory.free
    return free


def amd_devices(root: Path) -> Iterator[Accelerator]:
    """Of the nodes that the kernel's driver for compute lists; processors are nodes without a target."""
    nodes = root / "sys/class/kfd/kfd/topology/nodes"
    for node in sorted(nodes.glob("*"), key=lambda path: int(path.name)):
        lines = (line.split() for line in (node / "properties").read_text().splitlines())
        facts = {words[0]: int(words[1]) for words in lines if len(words) == 2}
        target = facts.get("gfx_target_version", 0)  # 90402 is gfx942
        card = root / f"sys/class/drm/renderD{facts.get('drm_render_minor', 0)}/device"
        if not target or not (card / "mem_info_vram_total").exists():
            continue
        total, used = (int((card / f"mem_info_vram_{word}").read_text()) for word in ("total", "used"))
        named = card / "product_name"
        found = Accelerator(
            name=(named.read_text().strip() if named.exists() else "") or f"AMD gfx target {target}",
            platform="rocm",
            memory_bytes=total,
            free_bytes=total - used,
            capability=(target // 10000, target // 100 % 100),
            multiprocessors=facts.get("simd_count", 0) // 4,
        )
        yield rated(found)


def _library(name: str) -> Library | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None
