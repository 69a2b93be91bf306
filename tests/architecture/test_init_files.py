"""`__init__.py` files hold a docstring; only the face of the package holds more, its lazy exports."""

import ast

from tests.architecture.source import modules


def test_init_files_define_nothing() -> None:
    wrong = [
        module.place
        for module in modules()
        if module.path.name == "__init__.py" and module.name != "stemma" and not holds_only_a_docstring(module.tree)
    ]
    assert not wrong, f"more than a docstring: {wrong}"


def holds_only_a_docstring(tree: ast.Module) -> bool:
    return len(tree.body) == 1 and ast.get_docstring(tree) is not None


def test_every_module_says_what_it_is() -> None:
    silent = [module.place for module in modules() if not ast.get_docstring(module.tree)]
    assert not silent, f"no docstring: {silent}"
