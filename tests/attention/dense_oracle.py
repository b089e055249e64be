"""The dense oracle as one program: outside of jit each of its operations would be compiled for each shape."""

from __future__ import annotations

import jax

from attention.kernels import dense
from attention.pattern import SpanPattern, Spans

attend_masked = jax.jit(dense.attend_masked)
_of_constants = jax.jit(dense.attend_dense, static_argnames="pattern")
_of_data = jax.jit(dense.attend_dense)


def attend_dense(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern: SpanPattern | Spans):
    of = _of_constants if isinstance(pattern, SpanPattern) else _of_data
    return of(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern=pattern)
