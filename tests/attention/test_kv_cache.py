"""What a cache keeps, and where."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention import kv_cache
from attention.attended import Attended
from attention.kernels import pallas_write
from attention.kernels.pallas_write import write_token
from attention.kv_cache import LayerCache, extend, keep
from attention.pattern import SpanPattern
from attention.stacked import Beside, as_array
from tests.gpu import TRITON_IS_LEAVING

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_compile")]


NOTHING = Attended(jnp.zeros((1, 1, 1, 1)))


def layer_cache(positions, batch=1):
    """Keys that carry their own position, values its negative: [B, C, 1, 1]."""
    positions = jnp.asarray(positions, jnp.int32)
    keys = positions.astype(jnp.float32)[None, :, None, None].repeat(batch, 0)
    return LayerCache(keys, -keys, positions[None, None])


def test_keep_orders_by_position_and_empties_the_rest():
    cache = layer_cache([7, -1, 3, 9, 5, 2])
    kept = keep(cache, jnp.asarray([[[True, False, True, False, True, False]]]), 5)
    np.testing.assert_array_equal(kept.positions[0, 0], [3, 5, 7, -1, -1])
    np.testing.assert_array_equal(kept.keys[0, :3, 0, 0], [3, 5, 7])
    np.testing.assert_array_equal(kept.values[0, :3, 0, 0], [-3, -5, -7])


def test_keep_may_differ_per_head():
    cache = LayerCache(*(jnp.arange(8.0).reshape(1, 4, 2, 1),) * 2, jnp.arange(4)[None, None].repeat(2, 1))
    kept = keep(cache, jnp.asarray([[[1, 1, 0, 0], [0, 1, 0, 1]]], bool), 2)
    np.testing.assert_array_equal(kept.positions, [[[0, 1], [1, 3]]])
    np.testing.assert_array_equal(kept.keys[0, :, :, 0], [[0, 3], [2, 7]])


@pytest.mark.parametrize("steps", [[11], [1] * 11, [4, 1, 6], [2, 1, 1, 7]])
@pytest.mark.parametrize(("span", "sink"), [(4, 2), (1, 3), (5, 0)])
def test_a_window_keeps_its_sinks_and_its_last_keys(steps, span, sink):
    pattern, slots = SpanPattern(span=(span,), sink=(sink,)), span - 1 + sink
    stack = LayerCache(*(jnp.zeros((3, 1, slots, 1, 1)),) * 2, jnp.full((3, 1, 1, slots), -1))
    start = 0
    for tokens in steps:
        new = layer_cache(range(start, start + tokens))
        seen, kept = extend(stack, jnp.int32(1), new, jnp.int32(start), pattern)
        stack, seen = kept(NOTHING), jax.tree.map(as_array, seen, is_leaf=lambda x: isinstance(x, Beside))
        start += tokens
        visible = [p for p in np.asarray(seen.positions).ravel() if p >= 0]
        assert set(range(start - tokens, start)) <= set(visible)
        wanted = sorted({p for p in range(start) if p < sink or p > start - span})
        kept, keys = np.asarray(stack.positions[1]).ravel(), np.asarray(stack.keys[1, 0, :, 0, 0])
        np.testing.assert_array_equal(sorted(kept[kept >= 0]), wanted)  # a single token goes where there is room
        np.testing.assert_array_equal(keys[kept >= 0], kept[kept >= 0])
        np.testing.assert_array_equal(stack.values[1, 0, :, 0, 0][kept >= 0], -kept[kept >= 0])
    assert (stack.positions[jnp.asarray([0, 2])] == -1).all()  # the other layers are untouched


def test_rows_of_different_lengths_each_put_their_token_where_they_have_room():
    """The second row is padding in one step, which is kept nowhere."""
    pattern = SpanPattern(span=(3,))
    stack = LayerCache(*(jnp.zeros((1, 2, 2, 1, 1)),) * 2, jnp.full((1, 2, 1, 2), -1))
    for step, positions in enumerate(([0, 0], [1, -1], [2, 1], [3, 2])):
        keys = jnp.asarray(positions, jnp.float32)[:, None, None, None]
        new = LayerCache(keys, -keys, jnp.asarray(positions, jnp.int32)[:, None, None])
        stack = extend(stack, jnp.int32(0), new, jnp.int32(step), pattern)[1](NOTHING)
    np.testing.assert_array_equal(np.sort(stack.positions[0, :, 0]), [[2, 3], [1, 2]])
    np.testing.assert_array_equal(stack.keys[0, :, :, 0, 0], stack.positions[0, :, 0])


def test_a_full_cache_is_written_in_place():
    stack = LayerCache(jnp.zeros((2, 1, 7, 1, 1)), jnp.zeros((2, 1, 7, 1, 1)), jnp.full((2, 1, 1, 7), -1))
    stack = extend(stack, jnp.int32(0), layer_cache([0, 1, 2]), jnp.int32(0), SpanPattern())[1](NOTHING)
    seen, kept = extend(stack, jnp.int32(0), layer_cache([3, 4]), jnp.int32(3), SpanPattern())
    stack = kept(NOTHING)
    np.testing.assert_array_equal(seen.positions.read()[0, 0], [0, 1, 2, 3, 4, -1, -1])
    np.testing.assert_array_equal(stack.keys[0, 0, :, 0, 0], [0, 1, 2, 3, 4, 0, 0])


@pytest.fixture
def written_by_the_kernel(monkeypatch):
    """As on a GPU, interpreted."""
    monkeypatch.setattr(kv_cache, "_in_place", lambda stack: True)
    monkeypatch.setattr(pallas_write, "write_token", partial(write_token, interpret=True))


@pytest.mark.parametrize(
    "pattern", [SpanPattern(), SpanPattern((3,)), SpanPattern((2, 4), (1,)), SpanPattern((1,), (2,))]
)
@pytest.mark.parametrize("ragged", [False, True])
def test_tokens_that_the_kernel_writes_are_those_of_plain_updates(pattern, ragged, request):
    """Ragged: the first row is padding in two steps, and one token behind after that."""
    steps = np.array([[0, 1, 2, 3, 4, 5], [0, -1, 1, -1, 2, 3]] if ragged and max(pattern.span) < 9 else [range(6)])
    slots = min(max(pattern.span) - 1 + max(pattern.sink, default=0), 7)
    empty = LayerCache(*(jnp.zeros((3, 2, slots, 2, 16)),) * 2, jnp.full((3, len(steps), 1, slots), -1))

    def decode():
        stack, stacks = empty, []
        for step, positions in enumerate(steps.T):
            keys = jax.random.normal(jax.random.key(step), (2, 1, 2, 16))
            new = LayerCache(keys, -keys, jnp.asarray(positions, jnp.int32)[:, None, None])
            stack = extend(stack, jnp.int32(1), new, jnp.int32(step), pattern)[1](NOTHING)
            stacks.append(stack)
        return stacks

    plain = decode()
    request.getfixturevalue("written_by_the_kernel")
    chex.assert_trees_all_equal(decode(), plain)
    assert (plain[-1].positions[1] >= 0).any() and (plain[-1].positions[0] == -1).all()


def test_what_the_kernel_writes_has_the_derivative_of_plain_updates(written_by_the_kernel):
    stack = LayerCache(*jax.random.normal(jax.random.key(0), (2, 3, 2, 5, 2, 16)), jnp.zeros((3, 1, 1, 5), jnp.int32))
    new = LayerCache(*jax.random.normal(jax.random.key(1), (2, 2, 1, 2, 16)), jnp.full((1, 1, 1), 7))
    slot_b = jnp.array([3])

    def loss(write, *floats):
        keys, values, _ = write((*floats[:2], stack.positions), (*floats[2:], new.positions), jnp.int32(1), slot_b)
        return jnp.sin(keys).sum() + jnp.cos(values).sum()

    def by_kernel(stacks, new, layer, slot_b):
        return kv_cache._write_token(LayerCache(*stacks), layer, LayerCache(*new), slot_b, new[0])

    floats = *stack[:2], *new[:2]
    found, wanted = (
        jax.grad(partial(loss, write), argnums=(0, 1, 2, 3))(*floats) for write in (by_kernel, kv_cache._scatter_token)
    )
    chex.assert_trees_all_close(found, wanted, atol=1e-6)
