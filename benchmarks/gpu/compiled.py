"""What the compiler makes of the kernels, without a GPU: `python -m benchmarks.gpu.compiled [PART OF A NAME ...]`.

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.pop("TRITON_INTERPRET", None)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from benchmarks.facts import report
from benchmarks.gpu.launches import CASES
from stemma.device.ops.triton.launch import AMD_STAGES

TARGETS = {"sm_90": GPUTarget("cuda", 90, 32), "gfx942": GPUTarget("hip", "gfx942", 64)}
_TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
_MATRIX = re.compile(r"\b(HGMMA|QGMMA|IGMMA|HMMA|IMMA|DMMA)\b|\b(v_mfma)")


@dataclass
class Launch:
    """A kernel and what it was called with."""

    kernel: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def compiled(self, target: GPUTarget) -> Any:
        """As a launch on such a device would."""
        options = dict(self.options)
        if target.backend != "cuda":
            options["EARLY"] = False
            options.pop("launch_pdl", None)
            options["num_stages"] = min(AMD_STAGES, options.get("num_stages", AMD_STAGES))
        options = {name: value for name, value in options.items() if name != "EARLY" or name in self.names}
        backend = make_backend(target)
        bind = create_function_from_signature(self.kernel.signature, self.kernel.params, backend)
        bound, specialisation, found = bind(*self.arguments, debug=False, **options)
        known = {name: value for name, value in options.items() if name not in self.names}
        settled, signature, constants, attributes = self.kernel._pack_args(backend, known, bound, specialisation, found)
        source = ASTSource(self.kernel, signature, constants, attributes)
        return triton.compile(source, target=target, options=settled.__dict__)

    @property
    def names(self) -> list[str]:
        return list(self.kernel.signature.parameters)


def launches(run: Callable[[], object]) -> list[Launch]:
    """All that it would launch."""
    caught: list[Launch] = []

    def catch(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        caught.append(Launch(kernel, arguments, options))

    with mock.patch.object(JITFunction, "run", catch):
        run()
    return caught


def facts_of(compiled: Any, target: GPUTarget) -> dict[str, object]:
    """What the machine code says of itself."""
    return _of_cubin(compiled) if target.backend == "cuda" else _of_amdgcn(compiled)


def _of_cubin(compiled: Any) -> dict[str, object]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        tell = partial(subprocess.run, capture_output=True, text=True, check=True)
        usage = tell([_TOOLS / "cuobjdump", "--dump-resource-usage", file.name]).stdout
        code = tell([_TOOLS / "nvdisasm", file.name]).stdout
    numbers = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage)}
    return {
        "registers": numbers["REG"],
        "stack_bytes": numbers["STACK"] + numbers["LOCAL"],
        "shared_bytes": compiled.metadata.shared,
        "matrix": _counted(code),
        "widest_load_bits": max(map(int, re.findall(r"\bLDG\S*?\.(64|128)\b", code)), default=32),
    }


def _of_amdgcn(compiled: Any) -> dict[str, object]:
    code = compiled.asm["amdgcn"]
    numbers = {name: int(value) for name, value in re.findall(r"\.(vgpr_count|vgpr_spill_count):\s+(\d+)", code)}
    return {
        "registers": numbers["vgpr_count"],
        "stack_bytes": 4 * numbers["vgpr_spill_count"],
        "shared_bytes": compiled.metadata.shared,
        "matrix": _counted(code),
    }


def _counted(code: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for words in _MATRIX.findall(code):
        word = "".join(words)
        found[word] = found.get(word, 0) + 1
    return found


def compiled_cases(wanted: list[str]) -> Iterator[dict[str, object]]:
    """The facts of every kernel that the wanted cases launch, for every target."""
    known: dict[str, dict[str, object]] = {}
    for case, run in CASES.items():
        if wanted and not any(word in case for word in wanted):
            continue
        for number, launch in enumerate(launches(run)):
            for name, target in TARGETS.items():
                began = time.perf_counter()
                compiled = launch.compiled(target)
                if compiled.hash not in known:
                    known[compiled.hash] = facts_of(compiled, target)
                kernel, seconds = launch.kernel.fn.__name__.strip("_"), round(time.perf_counter() - began, 2)
                told = {"case": case, "kernel": kernel, "launch": number, "target": name}
                yield {**told, **known[compiled.hash], "seconds": seconds}


if __name__ == "__main__":
    for facts in compiled_cases(sys.argv[1:]):
        report("compiled", **facts)
        sys.stdout.flush()
