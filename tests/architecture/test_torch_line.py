"""The front and the mind work without torch: tested by taking it away."""

import subprocess
import sys

from tests.architecture.layout import may_use_torch, room_of
from tests.architecture.source import ROOT, imported, modules

BLOCK = """
import sys
from importlib import import_module
sys.modules["torch"] = None
for name in sys.argv[1:]:
    import_module(name)
"""


# Libraries that are installed by choice, and some of them import torch: whoever asks for one by name has it.
CHOSEN = ("xgrammar", "outlines_core", "litellm")


def free_modules() -> list[str]:
    names = (
        module.name
        for module in modules()
        if not may_use_torch(room_of(module.name) or "")
        and not any(name.split(".")[0] in CHOSEN for name, _ in imported(module.tree))
    )
    return [name for name in names if not name.endswith("__main__")]


def test_half_of_the_house_imports_without_torch() -> None:
    free = free_modules()
    assert "stemma.core.base.errors" in free
    done = subprocess.run(
        [sys.executable, "-c", BLOCK, *free], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr


def test_torch_is_named_on_its_side_only() -> None:
    wrong = [
        f"{module.place}:{line}"
        for module in modules()
        if not may_use_torch(room_of(module.name) or "")
        for name, line in imported(module.tree)
        if name.split(".")[0] in ("torch", "safetensors")
    ]
    assert not wrong, f"torch below the torch line: {wrong}"
