"""What is imported is declared, and what is declared is imported."""

import sys
import tomllib

from tests.architecture.source import ROOT, imported, modules

IMPORT_NAMES = {
    "flashinfer-python": "flashinfer",
    "google-re2": "re2",
    "prometheus-client": "prometheus_client",
}


# Extras of the product itself, each imported by one adapter.
ADAPTED = ("openai", "anthropic", "litellm", "video", "plot", "xgrammar", "outlines", "flashinfer")
UNPUBLISHED = {"flash_attn_interface"}  # no index has it: its users build it
KERNELS = "stemma.device.ops.triton."  # alone imports what it is written in
EXTRAS = (*ADAPTED, "gpu")


def declared(*extras: str) -> set[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    names = [line.split(">")[0].strip() for line in wanted]
    return {IMPORT_NAMES.get(name, name) for name in names}


def test_an_extra_has_one_adapter() -> None:
    for package in declared(*ADAPTED) - declared():
        users = {
            module.place for module in modules() for name, _ in imported(module.tree) if name.split(".")[0] == package
        }
        assert len(users) == 1, f"{package} is imported by {users}"


def test_kernels_are_written_in_one_folder() -> None:
    users = {module.name for module in modules() for name, _ in imported(module.tree) if name.split(".")[0] == "triton"}
    assert users and all(name.startswith(KERNELS) for name in users), users


def used() -> set[str]:
    names = {name.split(".")[0] for module in modules() for name, _ in imported(module.tree)}
    return names - set(sys.stdlib_module_names) - {"stemma"}


def test_every_package_is_declared() -> None:
    assert not used() - declared(*EXTRAS) - UNPUBLISHED, "imported, but not in pyproject.toml"


def test_no_package_is_declared_in_vain() -> None:
    assert not declared(*EXTRAS) - used(), "in pyproject.toml, but not imported"
