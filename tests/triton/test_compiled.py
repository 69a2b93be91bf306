"""What the compiler makes of every kernel, for a GPU that is not here: it fits, spills nothing, uses what is there."""

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

from benchmarks.gpu.launches import CASES
from tests.architecture.source import ROOT

SHARED_BYTES = {"sm_90": 227 << 10, "gfx942": 64 << 10}  # that a block may have
GATHERING = (
    "inputs",
    "lay_out",
    "score_rows",
    "route",
    "sort",
    "find_shared",
    "table_rows",
)  # kernels that read here and there; all others read 16 bytes at a time
NARROW_TILE = "attention, cache of 8 bits, heads of 256"
UNITS = {"sm_90": ("HGMMA", "IGMMA"), "gfx942": ("v_mfma",)}


@cache
def compiled() -> list[dict[str, Any]]:
    """In a process of its own, since this one interprets."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "benchmarks.gpu.compiled"]
    found = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return [json.loads(line) for line in found.stdout.splitlines()]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES)
def test_it_fits_and_spills_nothing(case: str) -> None:
    found = [facts for facts in compiled() if facts["case"] == case]
    assert {facts["target"] for facts in found} == set(SHARED_BYTES)
    for facts in found:
        assert facts["stack_bytes"] == 0, facts
        assert facts["shared_bytes"] <= SHARED_BYTES[facts["target"]], facts
        # Where numbers of 4 bits are widened, the compiler loads as many as fill 16 bytes afterwards.
        is_narrow = facts["kernel"] in GATHERING or (facts["kernel"] == "product" and case.startswith("int4"))
        assert facts.get("widest_load_bits", 128) == 128 or is_narrow, facts


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kernel", ["product", "grouped", "attend"])
def test_products_run_on_matrix_units(kernel: str) -> None:
    found = [facts for facts in compiled() if facts["kernel"] == kernel]
    assert found
    for facts in found:
        # Wide heads of 8 bits have tiles of 32 rows, else they spill; warp groups multiply 64.
        units = ("HMMA", "v_mfma") if facts["case"] == NARROW_TILE else UNITS[facts["target"]]
        assert any(unit in facts["matrix"] for unit in units), facts


@pytest.mark.timeout(600)
def test_integers_of_8_bits_are_multiplied_as_such() -> None:
    found = [facts for facts in compiled() if facts["kernel"] == "product" and facts["case"].startswith("int8")]
    assert all("IGMMA" in facts["matrix"] for facts in found if facts["target"] == "sm_90") and len(found) == 8
