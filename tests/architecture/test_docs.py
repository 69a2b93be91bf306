"""The documents are true: links lead somewhere, commands exist, the map is that of these sources."""

import io
import re
from contextlib import redirect_stdout, suppress
from pathlib import Path

import pytest

from stemma.cli.main import main
from tests.architecture.source import ROOT
from tools.map import PAGE, page

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(?:bash|sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MACHINE = re.compile(r"(?<![\w.~])/(?:root|home|mnt|Users|work|tmp)\b")

by_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def slug(heading: str) -> str:
    """The anchor that a heading gets: `## One, two` is `#one-two`."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    return {slug(line.lstrip("#")) for line in path.read_text().splitlines() if line.startswith("#")}


def commands(path: Path) -> list[str]:
    """Lines of the shell blocks, prompts and continuations undone."""
    lines = "\n".join(BLOCK.findall(path.read_text())).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ").strip() for line in lines if line.strip() and not line.startswith("#")]


@by_page
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(path.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), f"{path.name}: {link} leads nowhere"
        assert not anchor or anchor in anchors(there), f"{path.name}: {link} has no such heading"


@by_page
def test_make_targets_exist(path: Path) -> None:
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {word for line in commands(path) for word in re.findall(r"\bmake ([a-z]+)", line)}
    assert asked <= known, f"no such target: {asked - known}"


@by_page
def test_scripts_exist(path: Path) -> None:
    for line in commands(path):
        for script in re.findall(r"\bpython3? ([\w/]+\.py)", line):
            assert (ROOT / script).is_file(), f"{path.name}: {line}"
        for module in re.findall(r"\bpython3? -m ((?:stemma|tools|benchmarks)[\w.]*)", line):
            place = ROOT / module.replace(".", "/")
            assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), f"{path.name}: {line}"


def help_of(command: str) -> str:
    """What `stemma COMMAND --help` prints."""
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        assert main([command, "--help"]) == 0
    return printed.getvalue()


@by_page
def test_commands_and_their_options_exist(path: Path) -> None:
    for line in commands(path):
        for command, rest in re.findall(r"(?:^|\s)stemma ([a-z]+)([^#|]*)", line):
            known, asked = help_of(command), re.findall(r"(?<=\s)--[a-z-]+", rest)
            assert all(option in known for option in asked), f"{path.name}: {line}"


@by_page
def test_no_path_of_one_machine(path: Path) -> None:
    assert not MACHINE.findall(path.read_text()), f"{path.name} names a folder of somebody's machine"


def test_decisions_are_numbered() -> None:
    numbers = [path.name[:4] for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert numbers == [f"{number:04d}" for number in range(1, len(numbers) + 1)]


def test_the_map_is_current() -> None:
    assert PAGE.read_text() == page(), "docs/map.md is stale: make map"
