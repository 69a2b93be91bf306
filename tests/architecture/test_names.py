"""Names: a choice by name is spelled in two files at most, and some words say nothing."""

import ast
import re
from collections.abc import Iterator

from tests.architecture.source import FUNCTIONS, Module, modules

EMPTY = re.compile(r"manager|helper|util|mixin|handler\d|_v\d+$|^maybe_|_wrapped$|_raw$|^data$|^info$", re.IGNORECASE)


def tables(module: Module) -> Iterator[ast.Call]:
    """Calls that make a `Registry(kind, {name: place, ...})`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).partition("[")[0] == "Registry":
            yield node


def makes_a_table(module: Module) -> bool:
    return next(tables(module), None) is not None


def registered(module: Module) -> Iterator[str]:
    """The names in the tables of a module."""
    for call in tables(module):
        for table in (argument for argument in call.args if isinstance(argument, ast.Dict)):
            for key in table.keys:
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value


def spelled(module: Module) -> set[str]:
    """Strings of a module, docstrings included: each as a whole."""
    constants = (node.value for node in ast.walk(module.tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


def defined(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that is made here: functions, classes, arguments, variables, attributes."""
    for node in ast.walk(tree):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def test_a_registered_name_is_spelled_in_two_files() -> None:
    """Its table, and one more: mostly the default in the configuration."""
    names = sorted({name for module in modules() for name in registered(module)})
    others = [module for module in modules() if not makes_a_table(module)]
    for name in names:
        elsewhere = [module.place for module in others if name in spelled(module)]
        assert len(elsewhere) <= 1, f"{name!r} is spelled in its table and in {elsewhere}"


def test_names_say_something() -> None:
    empty = [
        f"{module.place}:{line} {name}"
        for module in modules()
        for name, line in defined(module.tree)
        if EMPTY.search(name)
    ]
    empty += [module.place for module in modules() if EMPTY.search(module.path.stem)]
    assert not empty, "\n".join(empty)


def test_the_words_are_found() -> None:
    names = ["CacheManager", "text_utils", "plan_v2", "maybe_flush", "data", "metadata", "information", "draw"]
    assert [name for name in names if EMPTY.search(name)] == names[:5]
