"""The kernel for Hopper against the dense oracle: interpreted on a CPU, compiled on an H100.

On a GPU: `pytest -m gpu tests/attention/test_mosaic_attention.py`.
"""

from __future__ import annotations

import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.attend import choose_impl
from attention.kernels.dense import attend_dense
from attention.kernels.mosaic_attention import attend_mosaic
from attention.kernels.mosaic_item import ROWS, count_items, item_place, make_static, seen_place
from attention.kernels.mosaic_spans import attend_mosaic_spans
from attention.kernels.target import compiling_for
from attention.kernels.tiles import MOSAIC_KEYS, AttentionTiles
from attention.pattern import SpanPattern, Spans, Tile
from eval.cost.flops.traced import count_flops
from tests.attention.span_problem import draw_operands, oracle, safe_oracle
from tests.attention.test_pallas_attention import tiles_to_visit
from tests.gpu import close, gpu_interpreter
from tests.tile_map import tile_map

# The interpreter wants a thread for each warpgroup of a cluster, and may wait for ever where there are fewer; an odd
# number of programs forms no cluster.  On fewer cores: `NPROC=8 pytest -m slow ...`.
THREADS = int(os.environ.get("NPROC") or os.cpu_count() or 1)
SMALL = {  # (B, T, S, K, G, H), heads of the spans, programs
    "one program after another": ((1, 150, 200, 1, 2, 64), 2, 2),
    "two batches": ((2, 64, 64, 1, 1, 128), 1, 2),
    "heads that share keys": ((1, 150, 200, 2, 2, 64), 1, 2 if THREADS >= 8 else 3),
    "heads of 256, one place for queries": ((1, 270, 200, 1, 1, 256), 1, 1),
}
LARGE = {
    "group of 8": ((1, 1531, 2111, 4, 8, 128), 1),
    "odd group": ((2, 700, 1201, 2, 5, 64), 2),
    "per head": ((1, 1031, 1031, 2, 4, 128), 8),
    "batches of 128": ((3, 77, 389, 2, 3, 128), 2),
    "beyond the last key": ((2, 397, 149, 2, 3, 64), 1),
    "clusters of small heads": ((2, 397, 701, 2, 2, 64), 2),
    "less than a round": ((1, 77, 389, 1, 2, 64), 1),
    "heads of 256": ((2, 397, 701, 2, 3, 256), 1),
    "clusters of heads of 256": ((1, 1531, 2111, 2, 4, 256), 2),
}


def tile_of(head_dim: int) -> AttentionTiles:
    return AttentionTiles(2 * ROWS, MOSAIC_KEYS[head_dim], 0, 0)


def in_order(shape, span_heads: int, seed: int, dtype):
    q, k, v, pos, _, span, sink = draw_operands(shape, span_heads, seed, "in a row", dtype)
    padded = jnp.asarray(np.random.default_rng(seed).random(pos.shape[-1]) < 0.1)
    return q, k, v, jnp.where(padded, -1, pos), span, sink


def exact(q, k, v, pos, span, sink):
    kv_pos = jnp.broadcast_to(jnp.arange(k.shape[1]), (k.shape[0], k.shape[2], k.shape[1]))
    return oracle(*(x.astype(jnp.float32) for x in (q, k, v)), pos, kv_pos, span, sink)


def check(operands, found):
    out, lse, visited = found
    exact_out, exact_lse = exact(*operands)
    assert close(out, exact_out, 1e-2 if out.dtype == jnp.bfloat16 else 2e-3)
    np.testing.assert_allclose(lse, exact_lse, atol=1e-2)
    q, k, _, pos, span, sink = operands
    kv_pos = jnp.broadcast_to(jnp.arange(k.shape[1]), (k.shape[0], k.shape[2], k.shape[1]))
    span = jnp.broadcast_to(span, (*span.shape[:2], q.shape[1]))
    every_head = span.repeat(q.shape[2] // span.shape[1], axis=1)  # tiles are not shared by the heads of a group
    assert int(visited) == tiles_to_visit(q, k, pos, kv_pos, every_head, sink, tile_of(q.shape[-1]), least=1)


@settings(max_examples=60)
@given(
    st.integers(1, 3), st.integers(1, 700), st.sampled_from((70, 70_000)), st.integers(1, 5), st.integers(1, 6),
    st.sampled_from(("one", "kv", "every")), st.integers(1, 23),
)  # fmt: skip
def test_every_item_has_one_program_and_clusters_see_the_same(b, t, s, k, group, seen, programs):
    n, t = k * group, -(-t // (2 * ROWS)) * 2 * ROWS
    operands = (jax.ShapeDtypeStruct((b, size, heads, 64), jnp.bfloat16) for size, heads in ((t, n), (s, k)))
    pos = jax.ShapeDtypeStruct((b, {"one": 1, "kv": k, "every": n}[seen], t), jnp.int32)
    static = make_static(*operands, pos, programs, interpret=False)
    assert static.cluster * static.clusters <= programs
    assert static.cluster == (2 if programs % 2 == group % 2 == n // pos.shape[1] % 2 == 0 else 1)
    clusters = jnp.arange(static.clusters)
    counts = np.asarray(count_items(clusters, static))
    assert counts.max() - counts.min() <= 1 and counts.min() >= 1
    places = []
    for j in range(counts.max()):
        of_rank = []
        for rank in range(static.cluster):
            batch, head, row_tile = np.broadcast_arrays(*item_place(clusters, rank, jnp.int32(j), static))
            shared = np.broadcast_arrays(batch, head // group, row_tile, *seen_place(batch, head, static))
            of_rank.append(np.stack(shared)[:, counts > j])
            places += np.stack([batch, head, row_tile])[:, counts > j].T.tolist()
        np.testing.assert_array_equal(of_rank[0], of_rank[-1])
    assert sorted(map(tuple, places)) == list(np.ndindex(b, n, t // (2 * ROWS)))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_interpreted_kernel_is_the_oracle(name):
    """Unwritten outputs are NaN, and within a program a barrier that nobody waits for or a copy that races is an error.

    The interpreter brings every program of a cluster its own tiles: that one copy serves all is seen on a GPU alone,
    and so is that tensor cores read queries of heads of 256 from shared memory.
    """
    shape, span_heads, programs = SMALL[name]
    operands = in_order(shape, span_heads, 0, jnp.float16)
    with gpu_interpreter() as interpret:
        check(operands, attend_mosaic(*operands, programs=programs, interpret=interpret, return_lse=True))


@pytest.mark.slow
def test_no_query_sees_what_fills_the_last_tile():
    """Positions beyond the last key, and a tile of keys that it does not fill."""
    q, k, v, _, span, sink = in_order((1, 64, 70, 1, 1, 64), 1, 0, jnp.float16)
    operands = q, k, v, jnp.arange(40, 104)[None, None], jnp.full_like(span, 50), sink
    with gpu_interpreter() as interpret:
        check(operands, attend_mosaic(*operands, programs=2, interpret=interpret, return_lse=True))


@pytest.mark.slow
def test_interpreted_kernel_packs_queries_by_span():
    q, k, v, *_ = draw_operands((1, 131, 131, 1, 1, 64), 1, 0, "in a row", jnp.float16)
    pos = jnp.arange(131)
    span = jnp.asarray(np.random.default_rng(0).choice([7, 131], 131))[None, None]
    spans = Spans(span, jnp.zeros(1, jnp.int32), (7, 131))
    with gpu_interpreter() as interpret:
        found = attend_mosaic_spans(q, k, v, pos[None], pos[None, None], spans, programs=2, interpret=interpret)
    expected = attend_dense(*(x.astype(jnp.float32) for x in (q, k, v)), pos[None], pos[None, None], spans)[0]
    assert close(found.out_btnh, expected, 2e-3)


PATTERNS = [SpanPattern(), SpanPattern((300,)), SpanPattern((129,), (5,)), SpanPattern((1,)), SpanPattern((40, 700))]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("head_dim", MOSAIC_KEYS)
def test_lowers_for_an_absent_gpu_and_counts_the_tile_map(pattern, head_dim):
    tokens = 1000
    q, kv = (jax.ShapeDtypeStruct((3, tokens, n, head_dim), jnp.bfloat16) for n in (4, 2))
    pos = jnp.arange(tokens)

    def run(q, k, v):
        return attend_mosaic_spans(q, k, v, pos[None], pos[None, None], pattern).out_btnh

    with compiling_for("sm_90"):
        assert choose_impl(q, kv, pattern, order="prompt") == "mosaic"
        assert "mosaic_gpu" in jax.jit(run).trace(q, kv, kv).lower(lowering_platforms=("cuda",)).as_text()
        counted = count_flops(run, q, kv, kv).total
    heads = [pattern] * 2 if pattern.is_uniform else [SpanPattern((span,)) for span in pattern.span]
    tile = tile_of(head_dim)
    maps = (tile_map(head, np.arange(tokens), np.arange(tokens), tile.rows, tile.keys) for head in heads)
    assert counted == 3 * 2 * sum((tiles != Tile.SKIP).sum() for tiles in maps) * 4 * tile.rows * tile.keys * head_dim


def test_what_it_is_not_made_for_is_named():
    x, pos = jnp.zeros((1, 5, 2, 32), jnp.bfloat16), jnp.zeros((1, 1, 5), int)
    with pytest.raises(ValueError, match="16-bit heads of 64 or 128 or 256, all of one dtype, got bfloat16 of 32"):
        attend_mosaic(x, x, x, pos, pos, jnp.zeros(1, int))
    x = jnp.zeros((1, 5, 4, 64), jnp.bfloat16)
    with pytest.raises(ValueError, match="span_bnt must have sizes out of"):
        attend_mosaic(x, x[:, :, :2], x[:, :, :2], pos, pos.repeat(3, axis=1), jnp.zeros(1, int))
    with compiling_for("sm_90"):
        for change, message in [
            ({"order": "any"}, "mosaic takes keys that are known to stand at 0, 1, 2"),
            ({"q": x[..., :48]}, "mosaic takes head sizes 64, 128, 256, got 48"),
            ({"q": x.astype(jnp.float32)}, "mosaic takes bfloat16 and float16, got float32"),
        ]:
            options = {"order": "prompt", **change}
            q = options.pop("q", x)
            with pytest.raises(ValueError, match=f"attention by mosaic: {message}"):
                choose_impl(q, q, SpanPattern(), impl="mosaic", **options)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", LARGE)
@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1), st.sampled_from((None, 2, 3, 14)))
def test_compiled_kernel_is_the_oracle(name, dtype, seed, programs):
    operands = in_order(*LARGE[name], seed, dtype)
    check(operands, jax.jit(partial(attend_mosaic, programs=programs, return_lse=True))(*operands))


@pytest.mark.gpu
@pytest.mark.parametrize("span_heads", [1, 4, 32])
@pytest.mark.parametrize("head_dim", MOSAIC_KEYS)
def test_the_same_result_every_time(span_heads, head_dim):
    """A race would show as a result that changes: in clusters where heads of a group see the same, and without."""
    operands = in_order((1, 8192, 8192, 4, 8, head_dim), span_heads, 0, jnp.bfloat16)
    run = jax.jit(attend_mosaic)
    first, *_ = run(*operands)
    for _ in range(20):
        assert (run(*operands)[0] == first).all()


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["odd group", "clusters of small heads", "heads of 256"])
def test_gradients_of_the_compiled_kernel(name):
    q, k, v, pos, span, sink = in_order(*LARGE[name], 0, jnp.bfloat16)
    kv_pos = jnp.broadcast_to(jnp.arange(k.shape[1]), (k.shape[0], k.shape[2], k.shape[1]))

    def gradients(attend, *floats):
        return jax.jit(jax.grad(lambda *floats: jnp.sin(attend(*floats).astype(jnp.float32)).sum(), argnums=(0, 1, 2)))(
            *floats
        )

    ours = gradients(lambda *floats: attend_mosaic(*floats, pos, span, sink)[0], q, k, v)
    floats = (x.astype(jnp.float32) for x in (q, k, v))
    theirs = gradients(lambda *floats: safe_oracle(*floats, pos, kv_pos, span, sink)[0], *floats)
    for our, their in zip(ours, theirs, strict=True):
        assert close(our, their, 2e-2)
