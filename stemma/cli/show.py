"""How commands print: plain tables that survive a narrow terminal and a pipe."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text


def table_of(title: str, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> Table:
    """A table of literal text: square brackets mean nothing."""
    named = any(column.header for column in columns)
    table = Table(*columns, title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_header=named)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
