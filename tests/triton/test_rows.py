"""What moves or changes rows one by one: tables, activations, heads, inputs of a step."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stemma.device.ops.inputs import Tables
from stemma.device.ops.reference.activation import FUNCTIONS
from stemma.device.ops.table import Ops
from stemma.device.ops.triton.heads import norm_rotate_write
from stemma.device.ops.triton.inputs import columns, fill_inputs
from tests.matrices import laid
from tests.triton.rows import DTYPES, REFERENCE, TRITON, assert_like_the_reference, assert_near, random

every_type = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@every_type
@pytest.mark.parametrize("width", [1, 80, 1100])
def test_rows_of_steps_and_tables(dtype: torch.dtype, width: int) -> None:
    x, places = random(50, width, dtype=dtype), torch.tensor([49, 0, 7, 7])
    assert torch.equal(TRITON.take(x, places), x[places])
    assert torch.equal(TRITON.embed(places, laid(x)), x[places])


@every_type
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_gated(dtype: torch.dtype, activation: str) -> None:
    x = random(5, 2 * 517, dtype=dtype) * 4
    assert_like_the_reference(lambda ops, rows: ops.gated(rows, activation), x)


def test_extreme_numbers_pass_as_they_are() -> None:
    gate = torch.tensor([torch.nan, torch.inf, -torch.inf, 100.0, -100.0, 0.0])
    for activation in ("silu", "gelu_tanh", "relu"):  # torch makes NaN of gelu(inf)
        x = torch.cat([gate, torch.ones_like(gate)]).unsqueeze(0)
        found, expected = TRITON.gated(x, activation), REFERENCE.gated(x, activation)
        torch.testing.assert_close(found, expected, equal_nan=True, rtol=0, atol=1e-35, msg=activation)


@every_type
@pytest.mark.parametrize(("width", "turned"), [(10, 10), (64, 64), (80, 20)])
@pytest.mark.parametrize("is_normed", [True, False])
def test_norm_rotate(dtype: torch.dtype, width: int, turned: int, is_normed: bool) -> None:
    weight = random(2 * width, dtype=dtype, seed=1) if is_normed else None
    angle = random(5, turned // 2, seed=2)
    cos, sin, places = angle.cos(), angle.sin(), torch.arange(5)

    def turn(ops: Ops, x: Tensor) -> Tensor:
        return ops.norm_rotate(x[:, 1:6], weight, 3, 1e-6, cos, sin, x[:, 0, 0].long())

    # A row carries its position, so that it may stand anywhere.
    x = torch.cat([places.view(-1, 1, 1).expand(-1, 1, width), random(5, 7, width, dtype=dtype)], dim=1)
    assert_like_the_reference(turn, x.to(dtype))


@every_type
def test_heads_are_written_where_attention_finds_them(dtype: torch.dtype) -> None:
    """In the bits of the body that only turns them; other slots keep theirs, and no slot is written for nobody."""
    rows, queries, kv_heads, width = 4, 6, 2, 64
    x, weight = random(rows, queries + 2 * kv_heads, width, dtype=dtype), random(2 * width, dtype=dtype, seed=1)
    angle, places = random(9, width // 2, seed=2), torch.tensor([8, 3, 0, 1])
    keys, values = random(20, kv_heads, width, dtype=dtype, seed=3), random(20, kv_heads, width, dtype=dtype, seed=4)
    expected_keys, expected_values, slots = keys.clone(), values.clone(), torch.tensor([17, 0, -1, 5])
    angles = angle.cos(), angle.sin(), places
    turned = TRITON.norm_rotate(x[:, : queries + kv_heads], weight, queries, 1e-6, *angles)
    written = slots >= 0
    expected_keys[slots[written]] = turned[written, queries:]
    expected_values[slots[written]] = x[written, queries + kv_heads :]
    found = norm_rotate_write(x, weight, queries, 1e-6, *angles, keys, values, slots)
    assert torch.equal(found, turned[:, :queries])
    assert torch.equal(keys, expected_keys) and torch.equal(values, expected_values)


def tables() -> Tables:
    generator = torch.Generator().manual_seed(0)
    tokens_RC = torch.randint(1, 1000, (7, 90), generator=generator, dtype=torch.int32)
    known_R, paged_R, prompt_R = torch.tensor([90, 6, 1]).repeat(7, 1).T
    return Tables(16, tokens_RC, torch.randint(0, 500, (7, 6), generator=generator), known_R, paged_R, prompt_R)


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_inputs(rows: int) -> None:
    generator = np.random.default_rng(rows)
    parts = np.stack([generator.permutation(7)[:rows], *generator.integers(1, 44, (2, rows)), np.arange(rows) % 2], 1)
    tokens = int(parts[:, 2].sum())
    found, expected = (ops.inputs(tables(), 999).read(parts.tobytes()) for ops in (TRITON, REFERENCE))
    for name in ("tokens_T", "positions_T", "slots_T"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    assert [column.tolist() for column in found.drawn] == [column.tolist() for column in expected.drawn]
    filled = torch.full((3, tokens + 300), 77)
    fill_inputs(filled, torch.from_numpy(columns(parts, 8)), tables())
    assert torch.equal(filled[:, :tokens], torch.stack(expected[:3]))
    assert (filled[:, tokens:] == torch.tensor([[0], [0], [-1]])).all()


def test_a_row_of_any_type_is_turned_near_the_reference() -> None:
    """float16, which processors do not serve."""
    x, angle = random(3, 4, 64).half(), random(3, 32, seed=2)
    arguments = (x, None, 3, 1e-6, angle.cos(), angle.sin(), torch.arange(3))
    assert_near(TRITON.norm_rotate(*arguments), REFERENCE.norm_rotate(*arguments))
