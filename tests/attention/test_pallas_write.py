"""One token into its slots: the kernel, interpreted, against plain updates; and what the stack's other slots keep."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.kernels.pallas_write import write_token
from tests.gpu import TRITON_IS_LEAVING

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_off_gpu")]

LAYERS = 3


def problem(b, slots, n_kv, h, ragged, seed):
    """Stacks, and a token of each row."""
    rng = np.random.default_rng(seed)
    rows = b if ragged else 1
    stacks = (
        *(rng.normal(size=(LAYERS, b, slots, n_kv, h)) for _ in range(2)),
        rng.integers(-1, 99, (LAYERS, rows, 1, slots)),
    )
    new = *(rng.normal(size=(b, 1, n_kv, h)) for _ in range(2)), rng.integers(99, 199, (rows, 1, 1))
    as_floats = (jnp.float32, jnp.float32, jnp.int32)
    return tuple(tuple(jnp.asarray(x, kind) for x, kind in zip(of, as_floats, strict=True)) for of in (stacks, new))


def expected(stacks, new, layer, slot_b):
    keys, values, positions = map(np.array, stacks)
    for row, slot in enumerate(np.broadcast_to(slot_b, len(new[0]))):
        if slot < keys.shape[2]:
            keys[layer, row, slot], values[layer, row, slot] = new[0][row, 0], new[1][row, 0]
            pos_row = min(row, positions.shape[1] - 1)
            positions[layer, pos_row, 0, slot] = new[2][pos_row, 0, 0]
    return keys, values, positions


@settings(max_examples=24)
@given(
    st.sampled_from([(1, 5, 3, 16), (3, 7, 2, 16), (2, 1, 5, 32)]), st.booleans(), st.integers(0, LAYERS - 1),
    st.integers(0, 99), st.data(),
)  # fmt: skip
def test_only_the_slot_of_each_row_changes(shape, ragged, layer, seed, data):
    """Rows that share their positions share their slot; a slot behind the last is nowhere."""
    stacks, new = problem(*shape, ragged, seed)
    slots = data.draw(st.lists(st.integers(0, shape[1]), min_size=shape[0], max_size=shape[0]))
    slot_b = np.array(slots if ragged else slots[:1], np.int32)
    run = jax.jit(partial(write_token, interpret=True))
    found = run(stacks, new, jnp.int32(layer), jnp.asarray(slot_b), new[0])
    chex.assert_trees_all_equal(found, expected(stacks, new, layer, slot_b))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("ragged", [False, True])
def test_compiled_kernel_writes_the_same(ragged, dtype):
    stacks, new = problem(3, 131, 4, 128, ragged, 0)
    stacks = *(x.astype(dtype) for x in stacks[:2]), stacks[2]
    slot_b = jnp.asarray([7, 131, 130] if ragged else [130], jnp.int32)
    wanted = expected(stacks, tuple(x.astype(y.dtype) for x, y in zip(new, stacks, strict=True)), 1, np.asarray(slot_b))
    found = jax.jit(write_token)(stacks, new, jnp.int32(1), slot_b, new[0])
    chex.assert_trees_all_equal(tuple(map(np.asarray, found)), wanted)
