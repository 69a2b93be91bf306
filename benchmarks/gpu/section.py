"""One section of a run, in a process of its own: `python -m benchmarks.gpu.section NAME STAGE`, STAGE being JSON."""

import sys
from collections.abc import Callable

import msgspec

from benchmarks.gpu.stage import Stage
from stemma.core.base.registry import Registry

SECTIONS: Registry[Callable[[Stage], None]] = Registry(
    "section",
    {
        "facts": "benchmarks.gpu.ceilings:facts",
        "ceilings": "benchmarks.gpu.ceilings:ceilings",
        "weights": "benchmarks.gpu.weights:write",
        "kernels": "benchmarks.gpu.kernels:kernels",
        "correctness": "benchmarks.gpu.correctness:correctness",
        "bits": "benchmarks.gpu.bits:bits",
        "steps": "benchmarks.gpu.steps:steps",
        "workload": "benchmarks.gpu.workload:workload",
        "server": "benchmarks.gpu.server:server",
    },
)

if __name__ == "__main__":
    SECTIONS[sys.argv[1]](msgspec.json.decode(sys.argv[2], type=Stage))
