"""Accelerators: known ones by name, and those that a made-up driver tells of."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import pytest

from stemma.core.config.accelerator import KNOWN, Accelerator, known, rated
from stemma.core.config.drivers import Library, amd_devices, cuda_devices, find_accelerators

GIB = 1 << 30


class Driver:
    """Two devices behind the functions of the CUDA driver API and of NVML, as C would fill them in."""

    def __init__(self, **failing: int):
        self.failing = failing

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *arguments: self.failing.get(name) or getattr(Calls, name)(*arguments)


class Calls:
    """One function each; pointers come as `byref` gives them."""

    @staticmethod
    def cuInit(flags: int) -> int:
        return 0

    @staticmethod
    def cuDeviceGetCount(count: object) -> int:
        return put(count, 2)

    @staticmethod
    def cuDeviceGet(device: object, number: int) -> int:
        return put(device, number)

    @staticmethod
    def cuDeviceGetName(name: "ctypes.Array[ctypes.c_char]", size: int, device: ctypes.c_int) -> int:
        name.value = (b"NVIDIA H200", b"Something New")[device.value]
        return 0

    @staticmethod
    def cuDeviceTotalMem_v2(total: object, device: ctypes.c_int) -> int:
        return put(total, 140 * GIB)

    @staticmethod
    def cuDeviceGetAttribute(value: object, attribute: int, device: ctypes.c_int) -> int:
        return put(value, {75: 9, 76: 0, 16: 132}[attribute])

    @staticmethod
    def cuDeviceGetPCIBusId(bus: "ctypes.Array[ctypes.c_char]", size: int, device: ctypes.c_int) -> int:
        bus.value = b"0000:0%d:00.0" % device.value
        return 0

    @staticmethod
    def nvmlInit_v2() -> int:
        return 0

    @staticmethod
    def nvmlDeviceGetHandleByPciBusId_v2(bus: "ctypes.Array[ctypes.c_char]", handle: object) -> int:
        return put(handle, 1 + int(bus.value[6:7]))

    @staticmethod
    def nvmlDeviceGetMemoryInfo(handle: ctypes.c_void_p, memory: object) -> int:
        memory._obj.free = (handle.value or 0) * GIB  # type: ignore[attr-defined]  # what byref holds
        return 0


def put(pointer: object, value: int) -> int:
    pointer._obj.value = value  # type: ignore[attr-defined]  # what byref holds
    return 0


def found(driver: Library, management: Library | None) -> list[Accelerator]:
    return list(cuda_devices(driver, management))


def test_what_the_drivers_of_nvidia_tell() -> None:
    first, second = found(Driver(), Driver())
    assert (first.name, first.platform, first.capability, first.multiprocessors) == ("NVIDIA H200", "cuda", (9, 0), 132)
    assert (first.memory_bytes, first.free_bytes, second.free_bytes) == (140 * GIB, GIB, 2 * GIB)
    assert first.bandwidth == 4.8e12
    assert (second.name, second.bandwidth) == ("Something New", 0)


def test_without_the_management_library_all_memory_counts_as_free() -> None:
    for management in (None, Driver(nvmlInit_v2=9), Driver(nvmlDeviceGetMemoryInfo=1)):
        assert [device.free_bytes for device in found(Driver(), management)] == [140 * GIB] * 2


def test_a_driver_without_devices() -> None:
    assert not found(Driver(cuInit=100), None)
    assert not found(Driver(cuDeviceGetCount=3), None)


def test_what_the_kernel_tells_of_amd(tmp_path: Path) -> None:
    nodes, cards = tmp_path / "sys/class/kfd/kfd/topology/nodes", tmp_path / "sys/class/drm"
    for number, text in enumerate(("cpu_cores_count 64\ngfx_target_version 0\n", "drm_render_minor 128\n")):
        (nodes / str(number)).mkdir(parents=True)
        (nodes / str(number) / "properties").write_text(text + "simd_count 1216\n")
    (nodes / "1/properties").write_text("drm_render_minor 128\nsimd_count 1216\ngfx_target_version 90402\n")
    card = cards / "renderD128/device"
    card.mkdir(parents=True)
    (card / "mem_info_vram_total").write_text(f"{192 * GIB}\n")
    (card / "mem_info_vram_used").write_text(f"{2 * GIB}\n")
    (card / "product_name").write_text("AMD Instinct MI300X OAM\n")
    [device] = amd_devices(tmp_path)
    assert (device.platform, device.capability, device.multiprocessors) == ("rocm", (9, 4), 304)
    assert (device.free_bytes, device.bandwidth) == (190 * GIB, 5.3e12)
    assert find_accelerators(tmp_path)


@pytest.mark.parametrize(
    ("name", "bandwidth"),
    [
        ("NVIDIA H200", 4.8e12),
        ("NVIDIA H100 80GB HBM3", 3.35e12),
        ("NVIDIA H100 PCIe", 2.0e12),
        ("NVIDIA A100-SXM4-40GB", 1.555e12),
        ("NVIDIA A100-SXM4-80GB", 2.039e12),
        ("NVIDIA L4", 0.3e12),
        ("NVIDIA GeForce RTX 4090", 1.008e12),
        ("AMD Instinct MI325X", 6.0e12),
        ("NVIDIA H2000", 0),
    ],
)
def test_a_name_tells_the_rates(name: str, bandwidth: float) -> None:
    plain = Accelerator(name=name, platform="cuda", memory_bytes=1, free_bytes=1)
    assert rated(plain).bandwidth == bandwidth


def test_every_known_device_is_found_by_its_own_name() -> None:
    for name, facts in KNOWN.items():
        device = known(name)
        assert device is not None
        assert (device.bandwidth, device.capability) == (facts.bandwidth, facts.capability)
    assert known("cuda") is None
    assert known("cpu") is None
