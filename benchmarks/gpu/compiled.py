"""What the compiler makes of the kernels, without a GPU: `python -m benchmarks.gpu.compiled [TARGET [WORD ...]]`.

Every case launches a body on tensors of the device "meta", at the shapes of real models. The launch is caught, with
all that a launch is specialised on, and compiled for Hopper (sm_90) and for AMD's gfx942. A line of JSON tells of each
kernel: registers and bytes of stack per thread, shared memory, instructions of the matrix units.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.pop("TRITON_INTERPRET", None)

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from benchmarks.facts import report
from benchmarks.gpu.launches import CASES
from stemma.device.ops.triton.rules import rule_of

TARGETS = {"sm_90": GPUTarget("cuda", 90, 32), "gfx942": GPUTarget("hip", "gfx942", 64)}
_TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
_MATRIX = re.compile(r"\b(?:wgmma\.mma_async|mma)\.sync\.aligned\.\S*|\bv_mfma\w*")
_ARITHMETIC = re.compile(r"\b(?:add|sub|mul|fma|div|max|min|ex2|neg)\.\S*f32")
_LOAD = re.compile(r"\bld\.global(?:\.[a-z]\w*(?:::\w+)*)*?(?:\.v(\d))?\.[bfsu](\d+) ")
_COPY = re.compile(r"\bcp\.async\.c[ag]\.shared\.global .*?, .*?, 0x(\w+)")


@dataclass
class Launch:
    """A kernel and what it was called with."""

    kernel: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def compiled(self, target: GPUTarget) -> Any:
        """As a launch on such a device would."""
        backend = make_backend(target)
        bind = create_function_from_signature(self.kernel.signature, self.kernel.params, backend)
        bound, specialisation, found = bind(*self.arguments, debug=False, **self.options)
        names = self.kernel.signature.parameters
        known = {name: value for name, value in self.options.items() if name not in names}
        settled, signature, constants, attributes = self.kernel._pack_args(backend, known, bound, specialisation, found)
        source = ASTSource(self.kernel, signature, constants, attributes)
        return triton.compile(source, target=target, options=settled.__dict__)


def launches(run: Callable[[], object], target: GPUTarget) -> list[Launch]:
    """All that it would launch on such a device."""
    caught: list[Launch] = []

    def catch(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        caught.append(Launch(kernel, arguments, options))

    rule_of.cache_clear()  # which knows one kind of device
    hip = None if target.backend == "cuda" else "caught"
    with mock.patch.object(JITFunction, "run", catch), mock.patch.object(torch.version, "hip", hip):
        run()
    return caught


def facts_of(compiled: Any, target: GPUTarget) -> dict[str, object]:
    """What the compiled code says of itself: of NVIDIA's the machine's, and the last one before it."""
    facts = {"warps": compiled.metadata.num_warps, "shared_bytes": compiled.metadata.shared}
    return facts | (_of_cuda(compiled) if target.backend == "cuda" else _of_hip(compiled))


def _of_cuda(compiled: Any) -> dict[str, object]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        tell: list[str | Path] = [_TOOLS / "cuobjdump", "--dump-resource-usage", file.name]
        usage = subprocess.run(tell, capture_output=True, text=True, check=True).stdout
    numbers = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage)}
    code = compiled.asm["ptx"]
    loads = [int(count or 1) * int(bits) for count, bits in _LOAD.findall(code)]
    return {
        "registers": numbers["REG"],
        "stack_bytes": numbers["STACK"] + numbers["LOCAL"],
        "matrix": Counter(_MATRIX.findall(code)),
        "arithmetic": Counter(_ARITHMETIC.findall(code)),  # of a thread
        "widest_load_bits": max([*loads, *(8 * int(size, 16) for size in _COPY.findall(code))], default=0),
        "is_bulk": "cp.async.bulk.tensor" in code,  # blocks are copied by the device
        "asks_ahead": 0 <= code.find("cp.async.bulk.prefetch.L2") < code.find("griddepcontrol.wait"),
    }


def _of_hip(compiled: Any) -> dict[str, object]:
    code = compiled.asm["amdgcn"]
    numbers = {name: int(value) for name, value in re.findall(r"\.(vgpr_count|vgpr_spill_count):\s+(\d+)", code)}
    return {
        "registers": numbers["vgpr_count"],
        "stack_bytes": 4 * numbers["vgpr_spill_count"],
        "matrix": Counter(_MATRIX.findall(code)),
    }


def compiled_cases(name: str, wanted: list[str]) -> Iterator[dict[str, object]]:
    """The facts of every kernel that the wanted cases launch on a target."""
    known: dict[str, dict[str, object]] = {}
    target = TARGETS[name]
    for case, run in CASES.items():
        if wanted and not any(word in case for word in wanted):
            continue
        for number, launch in enumerate(launches(run, target)):
            began = time.perf_counter()
            compiled = launch.compiled(target)
            if compiled.hash not in known:
                known[compiled.hash] = facts_of(compiled, target)
            kernel, seconds = launch.kernel.fn.__name__.strip("_"), round(time.perf_counter() - began, 2)
            told = {"case": case, "kernel": kernel, "launch": number, "target": name}
            yield {**told, **known[compiled.hash], "seconds": seconds}


if __name__ == "__main__":
    for name in sys.argv[1:2] or TARGETS:
        for facts in compiled_cases(name, sys.argv[2:]):
            report("compiled", **facts)
            sys.stdout.flush()
