"""The ledger of `stemma plan` against an engine that lives: private bytes after the largest step.

    python -m benchmarks.memory [MODEL] [options of stemma serve]

Starts a server, sends prompts that fill the largest step and have every token's log-probability taken,
then decodes all rows together, fills the cache, and reads the memory of the engine process: its own (RssAnon), and
packed weights that it maps. Prints one JSON line: `planned` is the ledger's sum, `after` what the process holds when
all is done, `peak` the most on the way, `mapped` how much of both are mapped weights. `over_weights_and_cache` is
`after` over the two lines that nobody can spare.
"""

import json
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from benchmarks.facts import report
from stemma.cli.child import serving
from stemma.core.base.numbers import ceil_div
from stemma.core.config.ask import ask_from
from stemma.core.config.env import cache_folder
from stemma.core.config.flags import Parser, add_options, given
from stemma.core.config.machine import probe
from stemma.core.config.resolve import Settled, resolve

DECODES = 4  # tokens that each row generates


def resident_bytes(pid: int, kind: str) -> int:
    """A line of /proc/PID/status: RssAnon is a process's own memory, VmHWM the most that was ever resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) << 10
    raise OSError(f"/proc/{pid}/status tells no {kind}")


def mapped_bytes(pid: int) -> int:
    """What is resident of the packed weights that a process maps."""
    lines = Path(f"/proc/{pid}/smaps").read_text().splitlines()
    begins = [number for number, line in enumerate(lines) if f"{cache_folder()}/packed/" in line]
    return sum(int(next(line for line in lines[at:] if line.startswith("Rss:")).split()[1]) << 10 for at in begins)


def forget_peak(pid: int) -> None:
    """VmHWM begins anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def engine_pid() -> int:
    """The engine process: our grandchild."""
    for child in psutil.Process().children(recursive=True):
        if "stemma.engine.process" in child.cmdline():
            return child.pid
    raise RuntimeError("there is no engine process")


def generate(url: str, key: str, **body: object) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{url}/generate", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=1800) as answer:
        answer.read()


def exercise(url: str, key: str, settled: Settled) -> None:
    """The largest steps that this configuration allows."""
    schedule, context, vocabulary = settled.engine.schedule, settled.engine.context, settled.engine.model.vocab_size
    rows = min(schedule.max_running, settled.ledger.tokens // (DECODES + 2))

    def prompt(number: int, length: int) -> list[int]:
        return [(number * 7919 + position * 31) % (vocabulary // 2) for position in range(length)]

    long = min(max(context // 2, min(context, 2 * schedule.step_tokens)), settled.ledger.tokens) - DECODES - 1
    sampling = {"max_new_tokens": DECODES, "ignore_eos": True, "temperature": 1.0}
    ask = {"sampling_params": sampling, "return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": 5}
    generate(url, key, input_ids=prompt(0, long), **ask)
    each = max(1, min(schedule.step_tokens // rows, settled.ledger.tokens // rows - DECODES - 1))
    with ThreadPoolExecutor(rows) as pool:
        list(pool.map(lambda row: generate(url, key, input_ids=prompt(row, each), **ask), range(1, rows + 1)))
    # A page that nobody wrote to takes no memory: prompts that share nothing fill the cache, twice over.
    few = {"sampling_params": {"max_new_tokens": 1, "ignore_eos": True}}
    for number in range(rows + 1, rows + 1 + 2 * ceil_div(settled.ledger.tokens, long)):
        generate(url, key, input_ids=prompt(number, long), **few)


def main() -> None:
    parser = Parser("memory.py", "memory.py [MODEL] [options]", "Hold the ledger against a living engine.")
    parser.add_argument("model", nargs="?", metavar="MODEL")
    add_options(parser, without=("server",))
    options = given(parser.parse(sys.argv[1:]))
    machine = probe()
    settled = resolve(ask_from(options), machine)
    with serving(options) as (url, key):
        pid = engine_pid()
        mapped = mapped_bytes(pid)
        loaded = resident_bytes(pid, "RssAnon") + mapped
        forget_peak(pid)
        exercise(url, key, settled)
        after = resident_bytes(pid, "RssAnon") + mapped
        # The other files that it maps, libraries, stay as they are: what is left of the peak is its own.
        peak = resident_bytes(pid, "VmHWM") - resident_bytes(pid, "RssFile") + mapped
    planned = settled.ledger.private_bytes
    lines = {line.name: line.bytes for line in settled.ledger.lines if not line.mapped}
    report(
        "memory",
        model=Path(settled.serve.served_model_name).name,
        planned=planned,
        loaded=loaded,
        mapped=mapped,
        after=after,
        peak=peak,
        error_percent=round(100 * (planned / after - 1), 2),
        peak_error_percent=round(100 * (planned / peak - 1), 2),
        over_weights_and_cache=round(after / (lines["weights"] + lines["KV cache"]), 3),
        lines=lines,
        options={name: value for name, value in options.items() if name != "model"},
    )


if __name__ == "__main__":
    main()
