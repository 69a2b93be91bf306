"""Libraries are built once, by one of those who need them, and never seen half done."""

import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stemma.core.base.errors import ConfigError
from stemma.core.config.machine import find_compiler, probe
from stemma.device.ops.cpu import build as build_module
from stemma.device.ops.cpu.build import build

pytestmark = pytest.mark.skipif(bool(probe().cannot_build), reason=probe().cannot_build)

CROSS = "aarch64-linux-gnu-g++"
BUILD = "from stemma.device.ops.cpu.build import build; print(build('portable'))"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def one_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources of one line, to compile quickly."""
    source = tmp_path / "sources" / "answer.cpp"
    source.parent.mkdir()
    source.write_text('extern "C" int answer() { return 42; }')
    monkeypatch.setattr(build_module, "_SOURCES", source.parent)
    return source


def test_two_processes_build_once(empty_cache: Path) -> None:
    def run(_: int) -> str:
        return subprocess.run([sys.executable, "-c", BUILD], capture_output=True, text=True, check=True).stdout.strip()

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, range(2))
    assert first == second
    assert sorted(path.name for path in (empty_cache / "stemma/native").iterdir()) == ["lock", Path(first).name]


def test_what_is_built_is_found_again_until_a_source_changes(one_source: Path) -> None:
    first = build("portable")
    made = first.stat().st_mtime_ns
    assert build("portable") == first
    assert first.stat().st_mtime_ns == made
    one_source.write_text('extern "C" int answer() { return 43; }')
    assert build("portable") != first


def test_a_compiler_that_fails_is_heard(one_source: Path, empty_cache: Path) -> None:
    one_source.write_text("this is no program")
    with pytest.raises(ConfigError, match=r"take --kernels reference(.|\n)*no program"):
        build("portable")
    assert [path.name for path in (empty_cache / "stemma/native").iterdir()] == ["lock"]


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert find_compiler() is None
    assert probe().cannot_build.startswith("no C++ compiler")
    with pytest.raises(ConfigError, match=r"install g\+\+"):
        build("portable")


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stemma.core.config.machine.find_compiler", lambda: "c++")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert probe().cannot_build.endswith("cannot be written")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="tiles are of x86-64")
@pytest.mark.parametrize(("source", "instruction"), [("linear", "tdpbf16ps"), ("int8", "tdpbsud")])
def test_the_tiles_of_amx_compile(tmp_path: Path, source: str, instruction: str) -> None:
    """What is run elsewhere in these tests is their spelled-out form where the processor has none."""
    made = tmp_path / "out.s"
    flags = [*build_module._FLAGS, *build_module._INSTRUCTIONS["amx"].split()]
    subprocess.run(
        [str(find_compiler()), *flags, "-S", f"{build_module._SOURCES}/{source}.cpp", "-o", str(made)], check=True
    )
    assert instruction in made.read_text()


@pytest.mark.skipif(not shutil.which(CROSS), reason=f"{CROSS} is not installed: nothing is compiled for aarch64")
def test_portable_kernels_compile_for_aarch64(tmp_path: Path) -> None:
    for source in sorted(Path(build_module.__file__).parent.glob("*.cpp")):
        made = tmp_path / f"{source.stem}.o"
        subprocess.run([CROSS, *build_module._FLAGS, "-c", str(source), "-o", str(made)], check=True)
        assert made.stat().st_size
