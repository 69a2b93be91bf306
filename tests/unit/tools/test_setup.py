"""What stands between a bare checkout and its environment is said in one message."""

import ast
import sys
from pathlib import Path

import pytest

from tools import setup


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout without an environment; pip and venv must not be reached."""
    for name in setup.SOURCES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    monkeypatch.setattr(setup, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(setup, "install", lambda extra: None)
    monkeypatch.setattr(sys, "argv", ["setup.py", "test"])
    return tmp_path


def test_an_old_python_can_read_it() -> None:
    assert ast.parse(Path(setup.__file__).read_text(), feature_version=(3, 8)).body


def test_no_supported_python(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "version_of", lambda python: (3, 10))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or 3\.12"):
        setup.main()


def test_a_full_disk(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "free_gib", lambda: 0.5)
    with pytest.raises(SystemExit, match=r"0\.5 GiB of disk are free .* needs 3 GiB"):
        setup.main()


def test_a_machine_of_another_kind(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(SystemExit, match="x86-64 and aarch64; this is linux, riscv64"):
        setup.main()


def test_a_python_that_cannot_make_environments(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = bare / "python3"
    stub.write_text("#!/bin/sh\necho 'ensurepip is not available' >&2\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setattr(setup, "find_python", lambda: str(stub))
    with pytest.raises(SystemExit, match=r"python3-venv[\s\S]*ensurepip is not available"):
        setup.main()


def test_a_second_run_changes_nothing(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installs: list[str] = []
    monkeypatch.setattr(setup, "make_venv", lambda: (bare / ".venv").mkdir(exist_ok=True))
    monkeypatch.setattr(setup, "install", installs.append)
    setup.main()
    setup.main()
    assert installs == ["test"]
    (bare / "pyproject.toml").write_text("something else")
    setup.main()
    assert installs == ["test", "test"]


def test_what_serves_the_tests_serves_the_demo(bare: Path) -> None:
    (bare / ".venv").mkdir()
    (bare / ".venv" / "installed-test").write_text(setup.digest())
    assert setup.is_current("demo")
    (bare / ".venv" / "installed-test").rename(bare / ".venv" / "installed-demo")
    assert not setup.is_current("test")
