"""The Pallas-Triton attention kernel against the dense oracle: interpreted on a CPU, compiled on a GPU.

On a GPU: `pytest -m gpu tests/attention/test_pallas_attention.py`.
"""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.kernels.pallas_attention import attend_pallas
from attention.kernels.target import current_target
from attention.kernels.tiles import ATTENTION, AttentionTiles, attention_tiles
from attention.pattern import UNBOUNDED, SpanPattern, Tile
from tests.attention.dense_oracle import attend_dense
from tests.attention.span_problem import ORDERS, draw_operands, oracle, safe_oracle
from tests.gpu import TRITON_IS_LEAVING, absent_gpu, close
from tests.tile_map import tile_map

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_off_gpu")]

SHAPES = {  # (B, T, S, K, G, H), tiles, heads of the spans
    "packed": ((2, 37, 83, 2, 3, 16), AttentionTiles(16, 16, 4, 1), 1),
    "per kv head": ((1, 29, 64, 3, 2, 32), AttentionTiles(32, 16, 4, 1), 3),
    "per head": ((1, 41, 53, 2, 4, 16), AttentionTiles(16, 32, 4, 1), 8),
    "values by column": ((2, 31, 71, 2, 3, 16), AttentionTiles(16, 16, 4, 1, v_by_column=True), 2),
}
LARGE = {
    "packed": ((1, 1531, 2111, 4, 8, 128), None, 1),
    "odd group": ((2, 700, 1201, 2, 5, 64), None, 1),
    "per head": ((1, 1031, 1031, 2, 4, 128), None, 8),
    "large heads": ((1, 519, 1024, 1, 2, 256), None, 2),
}


def tiles_to_visit(q, k, q_pos, kv_pos, span, sink, tiles: AttentionTiles, least: int = 0) -> int:
    """Pairs of a tile of rows and a tile of keys of which bounds alone do not say that nothing is visible.

    A tile of rows counts for `least` at least.
    """
    (b, t, n, _), k_heads = q.shape, k.shape[2]
    packed = n // k_heads if span.shape[1] in (1, k_heads) else 1
    q_pos, span, kv_pos = (np.asarray(x.repeat(n // x.shape[1], axis=1)) for x in (q_pos, span, kv_pos))
    sink, count = np.asarray(sink.repeat(n // sink.size)), 0
    for batch, stream in np.ndindex(b, n // packed):
        heads = slice(stream * packed, (stream + 1) * packed)
        pos, left = (x[batch, heads].T.ravel() for x in (q_pos, q_pos - span))
        sinks = np.broadcast_to(sink[heads], (t, packed)).ravel()
        for first in range(0, pos.size, tiles.rows):
            rows = slice(first, first + tiles.rows)
            exists = pos[rows] >= 0
            visited = 0
            for keys in np.split(kv_pos[batch, heads.start], range(tiles.keys, kv_pos.shape[-1], tiles.keys)):
                keys = keys[keys >= 0]
                if exists.any() and keys.size and keys.min() <= pos[rows].max():
                    visited += keys.max() > left[rows][exists].min() or keys.min() < sinks[rows][exists].max()
            count += max(least, visited)
    return count


@partial(jax.jit, static_argnames=("tiles", "interpret"))
def run(*operands, tiles, interpret):
    return attend_pallas(*operands, tiles=tiles, interpret=interpret, return_lse=True)


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1), st.sampled_from(ORDERS))
def test_interpreted_kernel_is_the_oracle(name, seed, order):
    """Unwritten outputs of an interpreted kernel are NaN, so that every element is seen to be written."""
    shape, tiles, span_heads = SHAPES[name]
    operands = draw_operands(shape, span_heads, seed, order)
    out, lse, visited = run(*operands, tiles=tiles, interpret=True)
    exact, exact_lse = oracle(*operands)
    assert close(out, exact, 1e-5)
    np.testing.assert_allclose(lse, exact_lse, atol=1e-5, rtol=1e-5)
    q, k, _, *integers = operands
    assert int(visited) == tiles_to_visit(q, k, *integers, tiles)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_short_floats_are_accumulated_in_float32(dtype):
    shape, tiles, span_heads = SHAPES["packed"]
    operands = draw_operands(shape, span_heads, 0, "gaps", dtype)
    out, lse, _ = run(*operands, tiles=tiles, interpret=True)
    assert out.dtype == dtype and lse.dtype == jnp.float32
    exact, _ = oracle(*(x.astype(jnp.float32) for x in operands[:3]), *operands[3:])
    assert close(out, exact, 1e-2)


@pytest.mark.parametrize("pattern", [SpanPattern(), SpanPattern((29,)), SpanPattern((18,), (5,)), SpanPattern((1,))])
def test_visited_tiles_are_those_of_the_tile_map(pattern):
    """A group of one head, so that a tile of rows is a tile of queries."""
    tokens, tiles = 90, AttentionTiles(16, 16, 4, 1)
    q, k, v, *_ = draw_operands((1, tokens, tokens, 2, 1, 16), 1, 0, "in a row")
    pos = jnp.arange(tokens)[None, None]
    span, sink = (jnp.asarray(x, jnp.int32) for x in (pattern.span, pattern.sink))
    out, _, visited = run(q, k, v, pos, pos, span[None, :, None], sink, tiles=tiles, interpret=True)
    assert close(out, attend_dense(q, k, v, pos[0], pos, pattern)[0], 1e-5)
    expected = tile_map(pattern, np.arange(tokens), np.arange(tokens), tiles.rows, tiles.keys)
    assert int(visited) == 2 * (expected != Tile.SKIP).sum()


def test_a_near_tile_among_sinks_is_visited_once():
    """The span's keys are stored between two tiles of sinks."""
    q, k, v, *_ = draw_operands((1, 7, 48, 1, 1, 16), 1, 0, "in a row")
    kv_pos = jnp.concatenate([jnp.arange(16), jnp.arange(192, 208), jnp.arange(16, 32)])[None, None]
    operands = q, k, v, jnp.arange(200, 207)[None, None], kv_pos, jnp.full((1, 1, 1), 9), jnp.array([32])
    out, lse, visited = run(*operands, tiles=AttentionTiles(16, 16, 4, 1), interpret=True)
    exact, exact_lse = oracle(*operands)
    assert close(out, exact, 1e-5) and close(lse, exact_lse, 1e-5)
    assert int(visited) == 3


def test_another_window_is_the_same_program():
    shape, tiles, _ = SHAPES["packed"]
    *floats, q_pos, kv_pos, _, sink = draw_operands(shape, 1, 0, "in a row")
    traces = []

    @jax.jit
    def attend(span_bnt):
        traces.append(span_bnt)
        return attend_pallas(*floats, q_pos, kv_pos, span_bnt, sink, tiles=tiles, interpret=True)[2]

    visited = [int(attend(jnp.full((1, 1, 1), span, jnp.int32))) for span in (1, 20, UNBOUNDED)]
    assert len(traces) == 1
    assert visited == sorted(visited) and visited[0] < visited[-1]


@pytest.mark.parametrize("name", ["packed", "per kv head"])
def test_gradients_are_those_of_the_oracle(name):
    shape, tiles, span_heads = SHAPES[name]
    q, k, v, *integers = draw_operands(shape, span_heads, 3, "any")
    weights = np.random.default_rng(0).normal(size=q.shape)

    def loss(attend, *floats):
        out, lse = attend(*floats, *integers)[:2]
        return (out * weights).sum() + jnp.where(jnp.isfinite(lse), lse, 0).sum()

    def gradients(attend):
        return jax.jit(jax.grad(partial(loss, attend), argnums=(0, 1, 2)))(q, k, v)

    ours = gradients(partial(attend_pallas, tiles=tiles, interpret=True, return_lse=True))
    chex.assert_trees_all_close(ours, gradients(safe_oracle), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("platform", "target", "device"), [
    ("cuda", "sm_90", "NVIDIA H100 80GB HBM3"), ("rocm", "gfx1201", "gfx1201"),
])  # fmt: skip
@pytest.mark.parametrize("head_dim", [64, 128, 256])
def test_lowers_for_an_absent_gpu(platform, target, device, head_dim):
    tokens, tiles = 256, attention_tiles(target, jnp.bfloat16, head_dim)
    assert tiles is ATTENTION[target, 2, head_dim]
    q, kv = (jax.ShapeDtypeStruct((1, tokens, n, head_dim), jnp.bfloat16) for n in (8, 2))
    pos, one = jax.ShapeDtypeStruct((1, 1, tokens), jnp.int32), jax.ShapeDtypeStruct((1,), jnp.int32)
    attend = jax.jit(partial(attend_pallas, tiles=tiles, return_lse=True))
    with absent_gpu(device):
        lowered = attend.trace(q, kv, kv, pos, pos, pos, one).lower(lowering_platforms=(platform,))
    assert "triton" in lowered.as_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k_bskh": jnp.zeros((1, 9, 2, 16))}, r"k must be \[B, S, K, H\] = \(1, 9, 2, 32\)"),
        ({"span_bnt": jnp.ones((1, 3, 1), int)}, "span_bnt must have sizes out of"),
        ({"sink_n": jnp.ones((1, 1), int)}, "sink_n must have sizes out of"),
        ({"q_btnh": jnp.zeros((1, 5, 3, 32))}, "3 query heads are not a multiple of 2"),
    ],
)
def test_misfits_are_named(change, message):
    kv = jnp.zeros((1, 9, 2, 32))
    call = {
        "q_btnh": jnp.zeros((1, 5, 4, 32)), "k_bskh": kv, "v_bskh": kv, "q_pos_bnt": jnp.zeros((1, 1, 5), int),
        "kv_pos_bks": jnp.zeros((1, 1, 9), int), "span_bnt": jnp.ones((1, 1, 1), int), "sink_n": jnp.zeros(1, int),
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        attend_pallas(**(call | change))


def test_head_sizes_that_the_kernel_does_not_take_are_named():
    x, pos = jnp.zeros((1, 5, 1, 24)), jnp.zeros((1, 1, 5), int)
    with pytest.raises(ValueError, match="head sizes 16, 32, 64, 128 and 256, got 24"):
        attend_pallas(x, x, x, pos, pos, jnp.ones((1, 1, 1), int), jnp.zeros(1, int))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("name", LARGE)
@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1), st.sampled_from(ORDERS))
def test_compiled_kernel_is_the_oracle(name, dtype, seed, order):
    shape, _, span_heads = LARGE[name]
    tiles = attention_tiles(current_target(), dtype, shape[-1])
    operands = draw_operands(shape, span_heads, seed, order, dtype)
    out, lse, visited = run(*operands, tiles=tiles, interpret=False)
    exact, exact_lse = oracle(*(x.astype(jnp.float32) for x in operands[:3]), *operands[3:])
    assert close(out, exact, 1e-5 if dtype == jnp.float32 else 1e-2)
    np.testing.assert_allclose(lse, exact_lse, atol=1e-4 if dtype == jnp.float32 else 1e-2)
    q, k, _, *integers = operands
    assert int(visited) == tiles_to_visit(q, k, *integers, tiles)


@pytest.mark.gpu
def test_gradients_of_the_compiled_kernel():
    shape, _, span_heads = LARGE["odd group"]
    q, k, v, *integers = draw_operands(shape, span_heads, 0, "in a row")

    def gradients(attend):
        return jax.jit(jax.grad(lambda *floats: jnp.sin(attend(*floats, *integers)[0]).sum(), argnums=(0, 1, 2)))(
            q, k, v
        )

    for ours, exact in zip(gradients(attend_pallas), gradients(safe_oracle), strict=True):
        assert close(ours, exact, 1e-4)
