"""What a cache keeps, and where."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attended import Attended
from attention.kv_cache import LayerCache, extend, keep
from attention.pattern import SpanPattern
from attention.stacked import Beside, as_array

pytestmark = pytest.mark.usefixtures("fast_compile")


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
