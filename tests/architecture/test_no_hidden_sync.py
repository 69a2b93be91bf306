"""The device is waited for in named places only: elsewhere a copy to the host would stall the loop."""

import ast

from tests.architecture.layout import may_use_torch, room_of
from tests.architecture.source import modules

COPIES = ("item", "tolist", "cpu", "numpy")
ALLOWED = {
    "stemma/device/worker/pending.py": "where the loop waits: the results of a step, read once",
    "stemma/device/worker/native_sampler.py": "on processors only, where nothing is queued",
}

# What would wait on an accelerator, or copy by itself, on the way from a plan to its queued work.
QUEUED = ("accelerated", "asks", "device_rows", "graphs", "staging")
WAITS = (*COPIES, "synchronize", "to_list", "nonzero_static", "unique", "masked_select", "is_nonzero", "equal")


def test_results_are_read_in_named_places() -> None:
    found = [
        f"{module.place}:{node.lineno} .{node.func.attr}()"
        for module in modules()
        if may_use_torch(room_of(module.name) or "") and module.place not in ALLOWED
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in COPIES
    ]
    assert not found, f"hidden waits: {found}"


def test_every_allowed_place_exists() -> None:
    assert set(ALLOWED) <= {module.place for module in modules()}


def test_a_queued_step_waits_for_nothing() -> None:
    """`nonzero` is numpy's there: each stands behind a column that was written on the host."""
    queued = [
        module
        for module in modules()
        if module.place.startswith("stemma/device/worker/") and module.path.stem in QUEUED
    ]
    assert len(queued) == len(QUEUED)
    found = [
        f"{module.place}:{node.lineno} .{node.func.attr}()"
        for module in queued
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WAITS
    ]
    assert not found, f"hidden waits: {found}"
