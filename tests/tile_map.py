"""What kernels find tile by tile, at once: the oracle of the tiles that they visit."""

from __future__ import annotations

import numpy as np

from attention.pattern import Array, QueryBounds, SpanPattern, classify_tiles, pad_positions, query_bounds, tile_bounds


def tile_map(pattern: SpanPattern, q_pos_t: Array, kv_pos_s: Array, q_tile: int, kv_tile: int) -> np.ndarray:
    """The `Tile` map [heads of the pattern, query tiles, key tiles] on the host, of every pair of tiles."""
    heads = max(len(pattern.span), len(pattern.sink))
    span_ht, sink_h = np.asarray(pattern.per_head(heads), np.int64).T.reshape(2, heads, 1)
    q = query_bounds(pad_positions(np.asarray(q_pos_t), q_tile), span_ht, q_tile)
    kv_bounds = tile_bounds(pad_positions(np.asarray(kv_pos_s), kv_tile), kv_tile)
    return classify_tiles(
        QueryBounds(*(bound[..., None] for bound in q)), tuple(bound[None] for bound in kv_bounds), sink_h[..., None]
    )
