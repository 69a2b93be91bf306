"""Nothing grows without being noticed: files, functions, rooms."""

import ast

import pytest

from tests.architecture.layout import ROOMS, room_of
from tests.architecture.source import Module, functions, lines_by_room, modules

FILE_LINES = 500
FUNCTION_LINES = 60
KERNEL_LINES = 120  # functions of device/ops
FOLDERS = ("stemma", "tests", "tools", "benchmarks", "examples")


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def limit(module: Module) -> int:
    return KERNEL_LINES if room_of(module.name) == "device/ops" else FUNCTION_LINES


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_file_is_one_noun(folder: str) -> None:
    long = {module.place: module.lines for module in modules(folder) if module.lines > FILE_LINES}
    assert not long, f"more than {FILE_LINES} lines: {long}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_function_is_one_thought(folder: str) -> None:
    long = {
        f"{module.place}:{function.lineno} {function.name}": lines_of(function)
        for module in modules(folder)
        for function in functions(module.tree)
        if lines_of(function) > limit(module)
    }
    assert not long, f"too many lines: {long}"


def test_a_room_keeps_its_budget() -> None:
    over = {room: lines for room, lines in lines_by_room().items() if lines > ROOMS[room].budget_lines}
    assert not over, f"over the budget of layout.py: {over}"
