"""`stemma plan`: the memory of an engine, told before anything is loaded."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Column

from stemma.cli.show import table_of
from stemma.core.base.numbers import format_bytes
from stemma.core.config.flags import Parser, add_options, asked
from stemma.core.config.ledger import Ledger
from stemma.core.config.machine import probe
from stemma.core.config.resolve import resolve


def plan(argv: Sequence[str]) -> None:
    """Print the ledger of `stemma serve` with the same options."""
    parser = Parser(
        "stemma plan",
        "stemma plan [MODEL] [options]",
        "Tell what `stemma serve` with the same options takes of memory. Loads nothing.",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="folder of the model; acorn if left out")
    add_options(parser, without=("server", "log"))
    settled = resolve(asked(parser.parse(argv)), probe())
    console = Console()
    columns = (
        Column("memory for", no_wrap=True),
        Column("bytes", justify="right", no_wrap=True),
        Column("moved by", no_wrap=True),
        Column("how"),
    )
    console.print(table_of(settled.serve.served_model_name, columns, rows_of(settled.ledger)))
    console.print(summary(settled.ledger), highlight=False)


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
