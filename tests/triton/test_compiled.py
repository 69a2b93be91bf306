"""What the compiler makes of every kernel, for a GPU that is not here: it fits, spills nothing, uses what is there."""

import json
import os
import sys
from functools import cache
from subprocess import PIPE, Popen
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
UNITS = {"sm_90": "wgmma", "gfx942": "v_mfma"}


@cache
def compiled() -> list[dict[str, Any]]:
    """In processes of their own, since this one interprets."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    children = [
        Popen(
            [sys.executable, "-m", "benchmarks.gpu.compiled", name], cwd=ROOT, env=environment, stdout=PIPE, text=True
        )
        for name in SHARED_BYTES
    ]
    found = [child.communicate()[0] for child in children]
    assert not any(child.returncode for child in children)
    return [json.loads(line) for text in found for line in text.splitlines()]


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
        assert facts.get("widest_load_bits", 128) == 128 or is_narrow or facts["is_bulk"], facts


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kernel", ["product", "bulk", "grouped", "attend"])
def test_products_run_on_matrix_units(kernel: str) -> None:
    for facts in compiled_of(kernel):
        # Wide heads of 8 bits have tiles of 32 rows, else they spill; warp groups multiply 64.
        unit = "mma.sync" if facts["case"] == NARROW_TILE and facts["target"] == "sm_90" else UNITS[facts["target"]]
        assert any(kind.startswith(unit) for kind in facts["matrix"]), facts


@pytest.mark.timeout(600)
def test_integers_of_8_bits_are_multiplied_as_such() -> None:
    found = [facts for facts in compiled_of("product", "sm_90") if facts["case"].startswith("int8")]
    assert all(kind.endswith(".s32.s8.s8") for facts in found for kind in facts["matrix"]) and len(found) == 2


@pytest.mark.timeout(600)
def test_products_ask_for_weights_before_they_may_read_rows() -> None:
    assert all(facts["asks_ahead"] for facts in compiled_of("product", "sm_90"))


@pytest.mark.timeout(600)
def test_the_device_copies_blocks_of_many_rows() -> None:
    """Not those of few, nor of quantised ones; and AMD's has no such copies."""
    found = compiled_of("bulk")
    assert {facts["target"] for facts in found} == {"sm_90"}
    assert all(facts["is_bulk"] and facts["warps"] == 8 for facts in found)
    assert {facts["case"] for facts in found} == {"whole step", "gated linear in chunks, 8192 rows"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", ["whole step", "attention, window of 4096", "attention, cache of 8 bits"])
def test_tiles_of_one_and_of_two_warp_groups_compute_a_row_alike(case: str) -> None:
    """As many operations of each kind for a thread, on the same instructions of the matrix unit."""
    found = [facts for facts in compiled_of("attend", "sm_90") if facts["case"] == case]
    assert {facts["warps"] for facts in found} == {4, 8}
    for kind in ("arithmetic", "matrix"):
        assert found[0][kind] and all(facts[kind] == found[0][kind] for facts in found)


def compiled_of(kernel: str, *targets: str) -> list[dict[str, Any]]:
    """At least one, for these targets or for all."""
    found = [facts for facts in compiled() if facts["kernel"] == kernel and facts["target"] in (targets or UNITS)]
    assert found
    return found
