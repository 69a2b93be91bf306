"""What a model computes does not depend on where: above the platforms nobody names one."""

import ast
from typing import get_args

from stemma.core.config.accelerator import Platform
from tests.architecture.source import modules

ROOMS = ("stemma.device.models", "stemma.device.layers", "stemma.device.kv", "stemma.device.weights", "stemma.control")
NAMES = {*get_args(Platform), "nvidia", "amd", "hip"} - {"cpu"}


def test_models_layers_and_the_mind_name_no_platform() -> None:
    found = [
        f"{module.place}: {word}"
        for module in modules()
        if module.name.startswith(ROOMS)
        for node in ast.walk(module.tree)
        for word in words(node)
        if word.partition(":")[0] in NAMES
    ]
    assert not found, f"platforms by name: {found}"


def words(node: ast.AST) -> list[str]:
    """Attributes, names and whole strings."""
    if isinstance(node, ast.Attribute):
        return [node.attr]
    if isinstance(node, ast.Name):
        return [node.id]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []
