"""`stemma plan`: the memory of an engine, told before anything is loaded."""

from collections.abc import Iterator, Sequence

import msgspec
from rich.console import Console
from rich.table import Column

from stemma.cli.show import table_of
from stemma.core.base.numbers import format_bytes
from stemma.core.config.accelerator import Accelerator
from stemma.core.config.engine import EngineConfig
from stemma.core.config.flags import Parser, add_options, asked
from stemma.core.config.floor import decode_seconds, prefill_rate
from stemma.core.config.ledger import Ledger
from stemma.core.config.machine import probe
from stemma.core.config.place import imagined, place_of
from stemma.core.config.resolve import resolve


def plan(argv: Sequence[str]) -> None:
    """Print the ledger of `stemma serve` with the same options; `--device` may name a device that is not here."""
    parser = Parser(
        "stemma plan",
        "stemma plan [MODEL] [options]",
        "Tell what `stemma serve` with the same options takes of memory. Loads nothing.",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="folder of the model; acorn if left out")
    add_options(parser, without=("server", "log"))
    ask = asked(parser.parse(argv))
    machine, device = imagined(probe(), ask.device)
    ask = msgspec.structs.replace(ask, device=device)
    settled = resolve(ask, machine)
    console = Console()
    columns = (
        Column("memory for", no_wrap=True),
        Column("bytes", justify="right", no_wrap=True),
        Column("moved by", no_wrap=True),
        Column("how"),
    )
    console.print(table_of(settled.serve.served_model_name, columns, rows_of(settled.ledger)))
    console.print(summary(settled.ledger), highlight=False)
    accelerator = place_of(device, machine)[0].accelerator
    if accelerator is not None:
        console.print(floors(settled.engine, accelerator), highlight=False)


def rows_of(ledger: Ledger) -> Iterator[tuple[str, str, str, str]]:
    """One row per purpose, and the sums."""
    for line in ledger.lines:
        yield line.name, format_bytes(line.bytes), line.option, line.how
    yield "", "", "", ""
    yield "private in all", format_bytes(ledger.private_bytes), "", f"of {format_bytes(ledger.limit_bytes)} usable"
    if ledger.mapped_bytes:
        yield "mapped in all", format_bytes(ledger.mapped_bytes), "", "the system may take it back at any time"


def summary(ledger: Ledger) -> str:
    """What fits into the cache."""
    return (
        f"The cache holds {ledger.tokens:,} tokens: {ledger.full_contexts} requests of the full context of "
        f"{ledger.context:,}, or {ledger.rows} requests of {ledger.shared_context:,} tokens each."
    )


def floors(config: EngineConfig, found: Accelerator) -> str:
    """What no implementation can beat on this device, by its datasheet."""
    if not found.bandwidth:
        return f"The rates of {found.name} are not known: no floor is told."
    context = min(1024, config.context)
    rows = [rows for rows in (1, 8, 64, 256) if rows <= config.schedule.max_running]
    steps = ", ".join(f"{rows}: {decode_seconds(config, found, rows, context) * 1e3:.2f} ms" for rows in rows)
    prompt = min(8192, config.context)
    return (
        f"The least that a step can take on {found.name} ({found.bandwidth / 1e12:.2f} TB/s, {found.flops / 1e12:.0f} "
        f"TFLOP/s by its datasheet): with {context:,} tokens behind each row, by rows, {steps}; "
        f"a prompt of {prompt:,} tokens at {prefill_rate(config, found, prompt):,.0f} tokens a second at most."
    )
