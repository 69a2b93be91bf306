"""Probing a machine: a made-up /proc and /sys, with cgroups of both versions."""

import os
from pathlib import Path

import pytest

from stemma.core.config.machine import Machine, probe

GIB = 1 << 30
CPUINFO = "processor\t: 0\nmodel name\t: Quick One\nflags\t\t: fpu avx2 sse4_2 avx512_bf16 amx_tile\n\nprocessor\t: 1\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four processors on two cores, eight gibibytes, no cgroup."""
    write(tmp_path, "proc/cpuinfo", CPUINFO)
    write(tmp_path, "proc/meminfo", f"MemTotal: {16 << 20} kB\nMemAvailable: {8 << 20} kB\n")
    write(tmp_path, "proc/self/cgroup", "")
    for cpu in range(4):
        siblings = "0,2" if cpu % 2 == 0 else "1,3"
        write(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", siblings)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_limits(root: Path) -> None:
    found = probe(root)
    assert (found.name, found.cores, found.memory_bytes) == ("Quick One", 2, 8 * GIB)
    assert found.instructions == ("avx2", "avx512_bf16", "amx_tile")
    assert found.has("amx_bf16", "avx2")
    assert not found.has("sve", "bf16")


def test_affinity_counts_cores_not_their_threads(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2})
    assert probe(root).cores == 1


def test_a_kernel_that_tells_of_no_cgroups(root: Path) -> None:
    (root / "proc/self/cgroup").unlink()
    assert probe(root).memory_bytes == 8 * GIB


def test_cgroup_version_2_and_every_group_above(root: Path) -> None:
    write(root, "proc/self/cgroup", "0::/outer/inner\n")
    write(root, "sys/fs/cgroup/outer/inner/memory.max", "max\n")
    write(root, "sys/fs/cgroup/outer/memory.max", f"{3 * GIB}\n")
    write(root, "sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n")
    write(root, "sys/fs/cgroup/outer/cpu.max", "100000 100000\n")
    found = probe(root)
    assert (found.cores, found.memory_bytes) == (1, 3 * GIB)


def test_cgroup_version_1(root: Path) -> None:
    write(root, "proc/self/cgroup", "4:memory:/box\n1:cpu,cpuacct:/box\n0::/\n")
    write(root, "sys/fs/cgroup/memory/box/memory.limit_in_bytes", f"{2 * GIB}\n")
    write(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    write(root, "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "50000\n")
    write(root, "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n")
    found = probe(root)
    assert (found.cores, found.memory_bytes) == (1, 2 * GIB)


def test_an_unlimited_quota_is_none(root: Path) -> None:
    write(root, "proc/self/cgroup", "1:cpu:/\n")
    write(root, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    write(root, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert probe(root).cores == 2


def test_huge_pages(root: Path) -> None:
    assert probe(root).huge_pages == "never"
    write(root, "sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
    assert probe(root).huge_pages == "madvise"


def test_arm_has_features(root: Path) -> None:
    write(root, "proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd bf16 sve\n")
    assert probe(root).instructions == ("asimd", "bf16", "sve")


def test_this_machine() -> None:
    found = probe()
    assert isinstance(found, Machine)
    assert found.cores >= 1
    assert found.memory_bytes > 1 << 20
