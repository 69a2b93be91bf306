"""Servers of other engines, where they are installed, started as `serving` starts ours."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from stemma.cli.child import answering, end_with_parent, free_port


def _vllm(folder: Path, port: int, context: int) -> list[str]:
    return [
        *("vllm.entrypoints.openai.api_server", f"--model={folder}", f"--port={port}", "--host=127.0.0.1"),
        *(f"--max-model-len={context}", "--max-num-seqs=256", "--max-num-batched-tokens=8192"),
    ]


def _sglang(folder: Path, port: int, context: int) -> list[str]:
    backend = "flashinfer" if find_spec("flashinfer") else "triton"
    return [
        *("sglang.launch_server", f"--model-path={folder}", f"--port={port}", "--host=127.0.0.1"),
        *(f"--context-length={context}", "--max-running-requests=256", f"--attention-backend={backend}"),
    ]


SERVERS = {"vllm": _vllm, "sglang": _sglang}  # modules and options


@contextmanager
def serving_peer(name: str, folder: Path, context: int) -> Iterator[str]:
    """Address of a peer's server. Raises StemmaError if it does not start."""
    port = free_port()
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-m", *SERVERS[name](folder, port, context)],
        env=os.environ | quiet,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,  # its log is the section's
        preexec_fn=end_with_parent,  # noqa: PLW1509  # there are no other threads yet
    )
    with answering(child, port, f"{name} ended while it started: exit status {{}}") as url:
        yield url
