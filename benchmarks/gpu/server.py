"""The whole server: requests over HTTP, by `stemma bench` against a server that this section starts."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

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
    for model in stage.models:
        options: dict[str, Any] = {
            "model_path": str(folder_of(stage, model)),
            "device": stage.device,
            "kernels": stage.kernels,
            "grammar_backend": "none",
            "context_length": stage.pick(8192, 512),
        }
        if stage.is_tiny:
            options |= {"kv_cache_memory": 8 << 20, "threads": 1}
        began = time.perf_counter()
        with serving(options) as (url, key):
            tell("start", model=model, engine="stemma", seconds=time.perf_counter() - began)
            for clients in (1, 2) if stage.is_tiny else CLIENTS:
                _ask(stage, model, url, key, clients, shared=0)
            _ask(stage, model, url, key, stage.pick(64, 2), shared=stage.pick(2048, 32))


def _ask(stage: Stage, model: str, url: str, key: str, clients: int, shared: int) -> None:
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
            tell("serve", model=model, engine="stemma", clients=clients, error=(done.stderr or done.stdout)[-500:])
            return
        line = json.loads(output.read_text())
    tell(
        "serve",
        model=model,
        engine="stemma",
        clients=clients,
        shared_tokens=shared,
        **{name: line[name] for name in TOLD if name in line},
    )
