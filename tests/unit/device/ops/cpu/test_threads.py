"""The pool of threads: each share is computed, once, whoever comes to do it."""

import os
import subprocess
import sys

import pytest
import torch

from stemma.device.ops.table import ops_of
from tests.bodies import NATIVE

THREADS = (2, 3, 5, 70, 300)  # more than there are processors, than a word has bits, than the pool holds

needs_kernels = pytest.mark.skipif(not NATIVE, reason="no native kernels here")


@needs_kernels
def test_any_number_of_threads_does_all_shares_once() -> None:
    add = ops_of(NATIVE[0].kernels).add_rms_norm
    weight = torch.ones(64)
    for round_ in range(20):
        x = torch.randn(1200, 64, generator=torch.Generator().manual_seed(round_))
        torch.set_num_threads(1)
        expected = add(x, x, weight, 1e-6)
        for threads in THREADS:
            torch.set_num_threads(threads)
            assert all(map(torch.equal, add(x, x, weight, 1e-6), expected)), threads
    torch.set_num_threads(1)


FORKS = """
import os, sys, torch
from stemma.device.ops.table import ops_of
add = ops_of(sys.argv[1]).add_rms_norm
x, weight = torch.randn(1200, 64), torch.ones(64)
normed = lambda: add(x, x, weight, 1e-6)[0].numpy().tobytes()  # torch's own threads do not outlive a fork
expected = normed()
torch.set_num_threads(2)
assert normed() == expected
child = os.fork()
is_equal = normed() == expected
if child == 0:
    os._exit(0 if is_equal else 1)
assert is_equal and os.waitpid(child, 0)[1] == 0
"""


@needs_kernels
def test_a_forked_child_starts_a_pool_of_its_own() -> None:
    command = [sys.executable, "-c", FORKS, NATIVE[0].kernels]
    subprocess.run(command, check=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
