"""Imports stand on top, except where choosing is importing: registries, commands, the package's face."""

import ast

from tests.architecture.layout import room_of
from tests.architecture.source import functions, imported, modules

BY_NAME = ("import_module", "__import__")
REGISTRY = "stemma.core.base.registry"


def test_no_import_hides_in_a_function() -> None:
    late = [
        f"{module.place}:{line} {name}"
        for module in modules()
        if room_of(module.name) not in ("cli", "stemma")
        for function in functions(module.tree)
        for name, line in imported(function)
    ]
    assert not late, f"late imports: {late}"


def test_only_registries_import_by_name() -> None:
    calls = [
        f"{module.place}:{node.lineno}"
        for module in modules()
        if module.name not in (REGISTRY, "stemma")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name | ast.Attribute)
        and (getattr(node, "id", "") or getattr(node, "attr", "")) in BY_NAME
    ]
    assert not calls, f"imports by name: {calls}"
