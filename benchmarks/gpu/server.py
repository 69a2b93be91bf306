"""The whole server, ours or a peer's, which this section starts: requests over HTTP by `stemma bench`."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.gpu.peer_servers import serving_peer
from benchmarks.gpu.stage import Stage, tell
from benchmarks.gpu.weights import folder_of
from stemma.cli.child import serving
from stemma.core.config.env import API_KEY

CLIENTS = (1, 16, 64, 256)
TOLD = (
    *("completed", "output_throughput", "mean_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "median_itl_ms", "p99_itl_ms"),
    *("median_ttft_ms", "duration"),
)


def server(stage: Stage) -> None:
    """`peers` of the stage name whose server it is: ours, if nobody's."""
    for model in stage.models:
        folder, context = folder_of(stage, model), stage.pick(8192, 512)
        began = time.perf_counter()
        with _started(stage, folder, context) as (engine, url, key):
            tell("start", model=model, engine=engine, seconds=time.perf_counter() - began)
            for clients in (1, 2) if stage.is_tiny else CLIENTS:
                _ask(stage, model, engine, url, key, clients, shared=0)
            _ask(stage, model, engine, url, key, stage.pick(64, 2), shared=stage.pick(2048, 32))


@contextmanager
def _started(stage: Stage, folder: Path, context: int) -> Iterator[tuple[str, str, str]]:
    """Whose server it is, its address and its key."""
    if stage.peers:
        [name] = stage.peers
        with serving_peer(name, folder, context) as url:
            yield name, url, "none"
    else:
        options: dict[str, Any] = {
            "model_path": str(folder),
            "device": stage.device,
            "kernels": stage.kernels,
            "grammar_backend": "none",
            "context_length": context,
        }
        if stage.is_tiny:
            options |= {"kv_cache_memory": 8 << 20, "threads": 1}
        with serving(options) as (url, key):
            yield "stemma", url, key


def _ask(stage: Stage, model: str, engine: str, url: str, key: str, clients: int, shared: int) -> None:
    """Three rounds of each client; every run draws prompts of its own."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "line.json"
        asked = {
            "url": url,
            "requests": 3 * clients,
            "max-concurrency": clients,
            "shared-tokens": shared or None,
            "input-tokens": stage.pick(512, 16),
            "output-tokens": stage.pick(128, 4),
            "seed": 1000 + clients + shared,
            "token-ids": f"300-{stage.pick(7999, 500)}",
            "output": output,
        }
        flags = [f"--{name}={value}" for name, value in asked.items() if value is not None]
        command = [sys.executable, "-m", "stemma", "bench", "serve", *flags]
        environment = {**os.environ, API_KEY: key}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=stage.seconds, env=environment, check=False
        )
        if done.returncode:
            tell("serve", model=model, engine=engine, clients=clients, error=(done.stderr or done.stdout)[-500:])
            return
        line = json.loads(output.read_text())
    tell(
        "serve",
        model=model,
        engine=engine,
        clients=clients,
        shared_tokens=shared,
        **{name: line[name] for name in TOLD if name in line},
    )
