"""Hypothesis strategies for attention problems: small, awkward, and never square by accident."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from attention.pattern import UNBOUNDED, SpanPattern
from tests.operands import on_device


@dataclass(frozen=True)
class Problem:
    """Operands of one `attend` call, with its pattern."""

    q_btnh: np.ndarray
    k_bskh: np.ndarray
    v_bskh: np.ndarray
    q_pos_bt: np.ndarray
    kv_pos_bks: np.ndarray
    pattern: SpanPattern

    def operands(self, dtype=jnp.float32):
        """Cast on the host: a cast on a device is a program for each shape."""
        floats = (on_device(x, dtype) for x in (self.q_btnh, self.k_bskh, self.v_bskh))
        return *floats, *(on_device(x, np.int32) for x in (self.q_pos_bt, self.kv_pos_bks))


spans = st.one_of(st.integers(1, 150), st.just(UNBOUNDED))
sinks = st.one_of(st.just(0), st.integers(0, 9), st.integers(0, 90))


@st.composite
def patterns(draw, n_heads: int) -> SpanPattern:
    heads = draw(st.sampled_from((1, n_heads)))
    one_per_head = st.lists(st.tuples(spans, sinks), min_size=heads, max_size=heads)
    span, sink = zip(*draw(one_per_head), strict=True)
    return SpanPattern(span, sink)


@st.composite
def problems(draw) -> Problem:
    """Any batch, lengths, grouping, head size, pattern; positions in a row, or with gaps, empties and any order."""
    batch, kv_heads = draw(st.sampled_from(((1, 1), (1, 3), (2, 1), (2, 3), (3, 2))))
    group, head_dim = draw(st.sampled_from(((1, 8), (3, 16), (8, 5), (2, 64), (5, 7))))
    queries, keys = draw(st.integers(1, 139)), draw(st.integers(1, 211))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if draw(st.booleans()):
        start = draw(st.integers(0, 50))
        keys = max(keys, start + queries)
        q_pos, kv_pos = start + np.arange(queries)[None], np.arange(keys)[None, None]
    else:
        rows, own = draw(st.sampled_from((1, batch))), draw(st.sampled_from((1, kv_heads)))
        kv_pos = np.stack([[rng.permutation(3 * keys)[:keys] for _ in range(own)] for _ in range(rows)])
        kv_pos = np.where(rng.random(kv_pos.shape) < 0.2, -1, kv_pos)
        q_pos = np.sort(rng.integers(-1, 3 * keys, (rows, queries)), axis=1)
    return Problem(
        rng.normal(size=(batch, queries, kv_heads * group, head_dim)),
        rng.normal(size=(batch, keys, kv_heads, head_dim)),
        rng.normal(size=(batch, keys, kv_heads, head_dim)),
        q_pos,
        kv_pos,
        draw(patterns(kv_heads * group)),
    )
