"""What is imported is declared, and what is declared is imported."""

import sys
import tomllib

from tests.architecture.source import ROOT, imported, modules

IMPORT_NAMES = {"google-re2": "re2", "prometheus-client": "prometheus_client", "pyzmq": "zmq"}


def declared() -> set[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted = tomllib.load(file)["project"]["dependencies"]
    names = [line.split(">")[0].strip() for line in wanted]
    return {IMPORT_NAMES.get(name, name) for name in names}


def used() -> set[str]:
    names = {name.split(".")[0] for module in modules() for name, _ in imported(module.tree)}
    return names - set(sys.stdlib_module_names) - {"stemma"}


def test_every_package_is_declared() -> None:
    assert not used() - declared(), "imported, but not in pyproject.toml"


def test_no_package_is_declared_in_vain() -> None:
    assert not declared() - used(), "in pyproject.toml, but not imported"
