"""Everything about one GPU in one command: `python -m benchmarks.gpu.run [--only SECTION ...] [--minutes 9]`.

Facts, ceilings, kernels (right, then fast), the engine's answers beside transformers', steps of models beside other
engines, an offline workload, the server. Each section is a process of its own with a time limit: what fails or hangs is
told in its place, and the next one begins. Every result is a line of JSON in OUTPUT/DATE-DEVICE.jsonl as soon as it is
known; at the end a table is printed, and written beside it.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory, gettempdir
from typing import IO, NamedTuple

import msgspec

from benchmarks.gpu.engines import PLAYERS, importable
from benchmarks.gpu.peer_servers import SERVERS
from benchmarks.gpu.section import SECTIONS
from benchmarks.gpu.stage import Stage
from benchmarks.gpu.table import table
from benchmarks.gpu.weights import SHAPES
from stemma.bench.facts import ROOT, facts
from stemma.core.config.flags import Parser
from stemma.core.config.machine import probe

Line = dict[str, object]
RESULTS = Path(__file__).parent / "results"
SHARED_MEMORY = Path("/dev/shm")
WEIGHTS_BYTES = 20 << 30  # of the largest models of a run
ALWAYS = ("facts", "ceilings")  # and of no model
LEAST_SECONDS = 10.0  # with less left, no section begins
END_SECONDS = 5.0  # for the table


class Job(NamedTuple):
    """A section, for some of the models and one of the engines."""

    section: str
    seconds: float
    models: tuple[str, ...]
    engines: tuple[str, ...] = ()


def main(argv: Sequence[str]) -> int:
    asked = _parser().parse(argv)
    ends = time.monotonic() + 60 * asked.minutes
    machine = probe()
    can_accelerate = bool(machine.accelerators) and not machine.cannot_accelerate
    device = asked.device or ("cuda" if can_accelerate else "cpu")
    if device == "cpu" and not (asked.device or asked.tiny):
        print(f"no GPU: {machine.cannot_accelerate or 'its driver tells of none'}; take --device or --tiny", flush=True)
        return 2
    models = tuple(asked.models) if asked.models else ("tiny",) if asked.tiny else Stage().models
    with TemporaryDirectory(prefix="stemma-") as scratch:
        stage = Stage(
            device=device, is_tiny=asked.tiny, models=models, folder=asked.folder or _folder(asked.tiny, scratch)
        )
        slug = machine.accelerators[0].name if device != "cpu" and machine.accelerators else "cpu"
        name = f"{datetime.now(UTC):%Y-%m-%d-%H%M}-{slug.lower().replace(' ', '-')}"
        asked.output.mkdir(parents=True, exist_ok=True)
        engines = asked.engines or importable(stage)
        began = {**facts(), **({"commit": asked.commit} if asked.commit else {})}
        lines = _run(stage, jobs(models, engines, asked.only), ends, asked.output / f"{name}.jsonl", began)
    page = table(lines)
    (asked.output / f"{name}.md").write_text(page)
    print(page)
    return 0


def jobs(models: Sequence[str], engines: Sequence[str], only: Sequence[str]) -> list[Job]:
    """In the order of their worth, should the time not suffice. Weights are made for whoever needs some."""
    first, every = (models[0],), tuple(models)
    ours, *peers = engines  # who comes first has its turn before the other sections
    wanted = [
        Job("facts", 30, ()),
        Job("ceilings", 60, ()),
        Job("weights", 90, every),
        Job("correctness", 120, first),
        Job("bits", 60, every),
        *(Job("steps", 150, (model,), (ours,)) for model in models),
        Job("workload", 90, first),
        Job("kernels", 120, every),
        Job("server", 120, first),
        *(Job("steps", 100, (model,), (peer,)) for model in models for peer in peers),
        *(Job("server", 150, first, (peer,)) for peer in peers if peer in SERVERS),
        Job("workload", 90, every[1:]),
    ]
    needed = (*only, *ALWAYS, "weights") if only else SECTIONS.names()
    return [job for job in wanted if job.section in needed and (job.models or job.section in ALWAYS)]


def _run(stage: Stage, planned: Sequence[Job], ends: float, file: Path, began_with: Line) -> list[Line]:
    """All lines of all sections, which are in the file as soon as they are known."""
    lines: list[Line] = []
    log = file.with_suffix(".log")
    with file.open("w") as written, log.open("w") as errors:

        def keep(line: Line) -> None:
            lines.append(line)
            written.write(json.dumps(line) + "\n")
            written.flush()

        keep({"section": "run", "case": "began", "stage": msgspec.to_builtins(stage), **began_with})
        for job in planned:
            seconds = min(job.seconds, ends - END_SECONDS - time.monotonic())
            about: Line = {"section": job.section}
            if seconds < LEAST_SECONDS:
                keep(
                    {
                        **about,
                        "case": "not begun",
                        "models": job.models,
                        "engines": job.engines,
                        "error": "no time left",
                    }
                )
                continue
            print(f"--- {' '.join((job.section, *job.models, *job.engines))} (at most {seconds:.0f} s)", flush=True)
            own = msgspec.structs.replace(stage, models=job.models, peers=job.engines, seconds=seconds)
            began = time.monotonic()
            errors.write(f"--- {job}\n")
            errors.flush()
            for line in section_lines(job.section, own, errors):
                keep({**about, **line})
                print(json.dumps(line), flush=True)
            keep(
                {
                    **about,
                    "case": "took",
                    "models": job.models,
                    "engines": job.engines,
                    "seconds": time.monotonic() - began,
                }
            )
    return lines


def section_lines(name: str, stage: Stage, errors: IO[str]) -> Iterator[Line]:
    """What a section says, as it says it; at the end, if it was none, why."""
    command = [sys.executable, "-m", "benchmarks.gpu.section", name, msgspec.json.encode(stage).decode()]
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(stage),
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    ended = threading.Timer(stage.seconds, lambda: os.killpg(child.pid, signal.SIGKILL))
    ended.start()
    begin = errors.tell()
    assert child.stdout is not None
    for text in child.stdout:
        try:
            line = json.loads(text)
        except ValueError:
            errors.write(text)  # libraries like to talk
            continue
        if isinstance(line, dict):
            yield line
    child.stdout.close()
    status = child.wait()
    ran_out = not ended.is_alive()
    ended.cancel()
    if status:
        errors.flush()
        told = Path(errors.name).read_bytes()[begin:].decode(errors="replace").strip()
        why = f"stopped after {stage.seconds:.0f} s" if ran_out else f"exit status {status}"
        yield {"case": "failed", "models": stage.models, "engines": stage.peers, "error": f"{why}: {told[-600:]}"}


def environment(stage: Stage) -> Mapping[str, str]:
    """Ours come first on the path; on a processor no interpreter of kernels is asked for."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    quiet = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **quiet, "PYTHONPATH": path}


def _folder(is_tiny: bool, scratch: str) -> str:
    """Memory, where there is enough of it: every engine reads the weights once more."""
    if is_tiny:
        return scratch
    if SHARED_MEMORY.exists() and disk_usage(SHARED_MEMORY).free > WEIGHTS_BYTES:
        return str(SHARED_MEMORY / "stemma")
    return str(Path(gettempdir()) / "stemma-weights")


def _parser() -> Parser:
    made = Parser("run", "python -m benchmarks.gpu.run [options]", __doc__ or "")
    made.add_argument(
        "--only", nargs="+", choices=SECTIONS.names(), default=[], help="these sections, and what they need"
    )
    made.add_argument("--minutes", type=float, default=9.0, metavar="X", help="no section runs for longer (default 9)")
    made.add_argument(
        "--models", nargs="+", choices=list(SHAPES), default=(), metavar="MODEL", help=f"of {', '.join(SHAPES)}"
    )
    made.add_argument(
        "--engines", nargs="+", choices=list(PLAYERS), default=(), help="for steps (default: all there are)"
    )
    made.add_argument("--device", default=None, help="cpu or cuda (default: cuda where one is found)")
    made.add_argument("--folder", default=None, help="where the models' weights are made, and kept")
    made.add_argument("--output", type=Path, default=RESULTS, metavar="FOLDER", help="for the lines and the table")
    made.add_argument("--commit", default="", help="of this tree, where git cannot tell")
    made.add_argument("--tiny", action="store_true", default=False, help="toys only: does everything run?")
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
