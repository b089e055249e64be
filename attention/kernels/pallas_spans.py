"""The Pallas-Triton kernel under a pattern."""

from __future__ import annotations

import jax

from attention.attended import Attended
from attention.kernels.packed_queries import pack, unpack
from attention.kernels.pallas_attention import attend_pallas
from attention.kernels.target import current_target
from attention.kernels.tiles import AttentionTiles, attention_tiles
from attention.pattern import SpanPattern, Spans


def attend_pallas_spans(
    q_btnh: jax.Array,
    k_bskh: jax.Array,
    v_bskh: jax.Array,
    q_pos_bt: jax.Array,
    kv_pos_bks: jax.Array,
    pattern: SpanPattern | Spans,
    *,
    return_lse: bool = False,
    tiles: AttentionTiles | None = None,
    interpret: bool = False,
) -> Attended:
    """`attend_dense` by the portable kernel; `tiles` and `interpret` as `attend_pallas` has them."""
    tiles = tiles or attention_tiles(current_target(), q_btnh.dtype, q_btnh.shape[-1])
    queries = pack(q_btnh, q_pos_bt, pattern, k_bskh.shape[2], tiles.rows, groups_share=True)
    out_btnh, lse_bnt, visited = attend_pallas(
        queries.q_bpnh, k_bskh, v_bskh, queries.pos_bmp, kv_pos_bks, queries.span_bmp, queries.sink_m,
        tiles=tiles, interpret=interpret, return_lse=return_lse,
    )  # fmt: skip
    return unpack(out_btnh, lse_bnt, visited, queries, tiles.rows * tiles.keys)
