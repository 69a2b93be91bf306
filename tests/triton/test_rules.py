"""How products are chosen: by reckoning, by a table that was measured, or by a library where bits may differ."""

from pathlib import Path

import msgspec
import pytest
import torch

from stemma.device.ops.table import ops_of
from stemma.device.ops.triton import rules
from stemma.device.ops.triton.rules import SHAPES, Rule, Shape, key_of, rule_of, table_of
from tests.matrices import laid
from tests.triton.rows import TRITON, random

CPU = torch.device("cpu")


def test_what_was_measured_is_taken_and_all_else_reckoned(tables: Path) -> None:
    measured = Rule(chunk=256, shapes=(Shape(16, 64, 128, 8, 2), SHAPES[-1]), library_rows=64)
    table_of(CPU).write_bytes(msgspec.json.encode({key_of("plain", 70, 1024): measured}))
    assert rule_of(CPU, "plain", 70, 1024) == measured
    assert measured.shape(16).num_warps == 8 and measured.shape(17) == SHAPES[-1] == measured.shape(999)
    assert rule_of(CPU, "plain", 70, 2048) == Rule(chunk=512)
    x, matrix = random(20, 1024), laid(random(70, 1024, seed=1))
    torch.testing.assert_close(TRITON.linear(x, matrix, None), x @ laid_rows(), atol=2e-4, rtol=0)
    assert torch.equal(TRITON.linear(x[:3], matrix, None), TRITON.linear(x, matrix, None)[:3])


def laid_rows() -> torch.Tensor:
    return random(70, 1024, seed=1).T


def test_a_table_whose_chunks_and_rounds_do_not_end_together_is_refused(tables: Path) -> None:
    table_of(CPU).write_text('{"plain 70x1024": {"chunk": 100}}')
    with pytest.raises(msgspec.ValidationError, match="chunk of 100 inputs"):
        rule_of(CPU, "plain", 70, 1024)


def test_committed_tables_are_whole() -> None:
    for file in rules.TABLES.glob("*.json"):
        for key, rule in msgspec.json.decode(file.read_bytes(), type=dict[str, Rule]).items():
            assert rule.shapes[-1].rows >= 64, (file.name, key)
            assert [shape.rows for shape in rule.shapes] == sorted(shape.rows for shape in rule.shapes)


def test_a_library_multiplies_many_rows_where_bits_may_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows, heads and quantised weights stay with our kernels."""
    loose, x = ops_of("triton", is_deterministic=False), random(300, 64)
    matrix, bias, asked = laid(random(70, 64, seed=1)), random(70), list[int]()

    def multiply(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        asked.append(len(x))
        return x @ weight.T if bias is None else x @ weight.T + bias

    monkeypatch.setattr(torch.nn.functional, "linear", multiply)
    for rows in (300, 256, 255):
        found = loose.linear(x[:rows], matrix, bias)
        torch.testing.assert_close(found, TRITON.linear(x[:rows], matrix, bias), atol=1e-4, rtol=0)
    gated = loose.gated_linear(x, matrix, bias, "silu")
    torch.testing.assert_close(gated, TRITON.gated_linear(x, matrix, bias, "silu"), atol=1e-3, rtol=0)
    loose.logits(x, matrix)
    loose.linear(x, laid(random(70, 64, seed=1), loose, "int8"), bias)
    assert asked == [300, 256, 300]
