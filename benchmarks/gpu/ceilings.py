"""What the device can do: bytes and operations a second, microseconds a launch."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import distributions

import torch
from torch import Tensor

from benchmarks.gpu.stage import Stage, kernel_seconds, tell
from stemma.core.config.machine import probe

TOLD = ("torch", "triton", "transformers", "numpy", "vllm", "sglang", "flashinfer-python", "flash-attn-3")


def facts(stage: Stage) -> None:
    """The machine, as it was found."""
    machine = probe()
    versions = {each.name: each.version for each in distributions() if each.name in TOLD}
    found = machine.accelerators[0] if machine.accelerators else None
    tell(
        "machine",
        processor=machine.name,
        cores=machine.cores,
        memory_bytes=machine.memory_bytes,
        shm_bytes=shutil.disk_usage("/dev/shm").free if os.path.exists("/dev/shm") else 0,
        python=platform.python_version(),
        versions=versions,
        accelerator=None if found is None else found.name,
        accelerator_free_bytes=None if found is None else found.free_bytes,
        cannot_accelerate=machine.cannot_accelerate,
    )
    if shutil.which("nvidia-smi"):
        asked = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.limit,temperature.gpu,memory.used"
        command = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"]
        tell(
            "nvidia-smi",
            fields=asked,
            says=subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip(),
        )


def ceilings(stage: Stage) -> None:
    """Copy and read of memory, a matrix product in bfloat16, the copy from the host, launches in a graph."""
    device, count = stage.device, stage.pick(1 << 32, 1 << 20)
    x = torch.randn(count // 2, dtype=torch.bfloat16, device=device)
    y = torch.empty_like(x)
    seconds, spread = kernel_seconds(stage, lambda: y.copy_(x))
    tell("copy", bytes_per_second=2 * x.nbytes / seconds, ms=seconds * 1e3, spread_ms=spread * 1e3)
    seconds, spread = kernel_seconds(stage, lambda: torch.sum(x.view(torch.float32)))
    tell("read", bytes_per_second=x.nbytes / seconds, ms=seconds * 1e3, spread_ms=spread * 1e3)
    _matrix(stage)
    if stage.is_accelerated:
        _host_copy(stage)
        _launches(stage)


def _matrix(stage: Stage) -> None:
    size = stage.pick(8192, 64)
    a, b = (torch.randn(size, size, dtype=torch.bfloat16, device=stage.device) for _ in range(2))
    seconds, spread = kernel_seconds(stage, lambda: a @ b, repeats=10)
    tell("matrix", flops=2 * size**3 / seconds, ms=seconds * 1e3, spread_ms=spread * 1e3)


def _host_copy(stage: Stage) -> None:
    pinned = torch.empty(1 << 28, dtype=torch.uint8, pin_memory=True)
    there = torch.empty_like(pinned, device=stage.device)
    seconds, _ = kernel_seconds(stage, lambda: there.copy_(pinned, non_blocking=True), repeats=5)
    tell("copy from the host", bytes_per_second=pinned.nbytes / seconds)
    small, there = pinned[:65536], there[:65536]
    seconds, _ = kernel_seconds(stage, lambda: there.copy_(small, non_blocking=True))
    tell("copy of 64 KiB from the host", us=seconds * 1e6)


def _launches(stage: Stage) -> None:
    """A graph of a thousand kernels that do nearly nothing: what one costs beside its work."""
    x: Tensor = torch.zeros(1, device=stage.device)
    x.add_(1)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(1000):
            x.add_(1)
    seconds, _ = kernel_seconds(stage, graph.replay, repeats=10)
    tell("kernel in a graph", us=seconds * 1e3)
