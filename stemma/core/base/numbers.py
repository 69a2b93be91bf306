"""Small integer arithmetic, and sizes as people write them."""

import re

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4,
          "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}  # fmt: skip


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def round_up(a: int, multiple: int) -> int:
    return ceil_div(a, multiple) * multiple


def format_bytes(size: float) -> str:
    """`format_bytes(3 << 20)` is `'3.00 MiB'`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} TiB"


def parse_size(text: str) -> int:
    """A count or a byte size: `'8192'`, `'16k'`, `'20GiB'`. Raises ValueError."""
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", text)
    unit = found[2].lower() if found else ""
    if found is None or (unit not in _UNITS and unit.removesuffix("b") not in _UNITS):
        raise ValueError(f"{text!r} is not a size; write 8192, 16k or 20GiB")
    return round(float(found[1]) * _UNITS.get(unit, _UNITS.get(unit.removesuffix("b"), 1)))
