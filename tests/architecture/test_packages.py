"""What is imported is declared, and what is declared is imported."""

import sys
import tomllib

from tests.architecture.source import ROOT, imported, modules

IMPORT_NAMES = {"google-re2": "re2", "prometheus-client": "prometheus_client", "pyzmq": "zmq"}


EXTRAS = ("openai", "plot", "xgrammar", "outlines")  # extras of the product itself, each imported by one adapter


def declared(*extras: str) -> set[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    names = [line.split(">")[0].strip() for line in wanted]
    return {IMPORT_NAMES.get(name, name) for name in names}


def test_an_extra_has_one_adapter() -> None:
    for package in declared(*EXTRAS) - declared():
        users = {
            module.place for module in modules() for name, _ in imported(module.tree) if name.split(".")[0] == package
        }
        assert len(users) == 1, f"{package} is imported by {users}"


def used() -> set[str]:
    names = {name.split(".")[0] for module in modules() for name, _ in imported(module.tree)}
    return names - set(sys.stdlib_module_names) - {"stemma"}


def test_every_package_is_declared() -> None:
    assert not used() - declared(*EXTRAS), "imported, but not in pyproject.toml"


def test_no_package_is_declared_in_vain() -> None:
    assert not declared(*EXTRAS) - used(), "in pyproject.toml, but not imported"
