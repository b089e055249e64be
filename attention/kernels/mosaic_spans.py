"""The kernel for Hopper under a pattern."""

from __future__ import annotations

from typing import Any

import jax

from attention.attended import Attended
from attention.kernels.mosaic_attention import attend_mosaic
from attention.kernels.packed_queries import pack, unpack
from attention.kernels.tiles import MOSAIC_KEYS, MOSAIC_ROWS
from attention.pattern import SpanPattern, Spans


def attend_mosaic_spans(
    q_btnh: jax.Array,
    k_bskh: jax.Array,
    v_bskh: jax.Array,
    q_pos_bt: jax.Array,
    kv_pos_bks: jax.Array,
    pattern: SpanPattern | Spans,
    *,
    return_lse: bool = False,
    programs: int | None = None,
    interpret: Any = None,
) -> Attended:
    """`attend_dense` by the kernel for Hopper, where slot i is known to stand at position i, or is empty and beyond
    every query; `programs` and `interpret` as `attend_mosaic` has them."""
    del kv_pos_bks
    queries = pack(q_btnh, q_pos_bt, pattern, k_bskh.shape[2], 2 * MOSAIC_ROWS, groups_share=False)
    out_btnh, lse_bnt, visited = attend_mosaic(
        queries.q_bpnh, k_bskh, v_bskh, queries.pos_bmp, queries.span_bmp, queries.sink_m,
        programs=programs, interpret=interpret, return_lse=return_lse,
    )  # fmt: skip
    return unpack(out_btnh, lse_bnt, visited, queries, 2 * MOSAIC_ROWS * MOSAIC_KEYS[q_btnh.shape[-1]])
