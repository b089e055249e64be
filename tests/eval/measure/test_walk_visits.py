"""The fast count of a walk's visits against the cover itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.kernels.cover import (
    GRANULE,
    Blocks,
    _visits_anywhere,
    blocks_of_walk,
    granules_visited,
    walk_name,
    walk_visits,
)
from attention.pattern import UNBOUNDED, SpanPattern, pad_positions, query_bounds, tile_bounds, visible_pairs

FULL = np.array([[UNBOUNDED]]), np.array([0])


@st.composite
def walks(draw: st.DrawFn):
    """Queries after a cache that kept some of its keys, with empty slots before, between and after."""
    start, tokens = draw(st.integers(0, 500)), draw(st.integers(1, 400))
    kept = sorted(draw(st.sets(st.integers(0, max(start - 1, 0)), max_size=60))) if start else []
    gaps = [[-1] * draw(st.integers(0, 200)) for _ in range(3)]
    own = list(range(start, start + draw(st.integers(1, 700))))
    kv_pos = np.array(gaps[0] + kept + gaps[1] + own + gaps[2], np.int32)
    q_pos = np.arange(start, start + tokens, dtype=np.int32)
    if draw(st.booleans()):
        q_pos = np.random.default_rng(tokens).permutation(q_pos)
    heads = st.tuples(st.sampled_from((1, 5, 63, 64, 65, 300, UNBOUNDED)), st.sampled_from((0, 1, 4, 64, 130)))
    blocks = Blocks(draw(st.sampled_from((16, 32, 64))), GRANULE * draw(st.integers(1, 8)), draw(st.booleans()))
    span_g, sink_g = np.array(draw(st.lists(heads, min_size=1, max_size=3))).T
    span_gt = span_g[:, None]
    if draw(st.booleans()):  # a span of its own for each query
        span_gt = np.random.default_rng(start).choice(span_g, (span_g.size, tokens))
    return span_gt, sink_g, q_pos, kv_pos, blocks


@settings(max_examples=300, deadline=None)
@given(walks())
def test_visits_in_order_equal_the_cover_on_the_whole_map(walk) -> None:
    span_gt, sink_g, q_pos, kv_pos, blocks = walk
    padded = np.pad(span_gt, ((0, 0), (0, -q_pos.size % blocks.q_tile)), mode="edge")
    q = query_bounds(pad_positions(q_pos, blocks.q_tile), span_gt if span_gt.shape[1] == 1 else padded, blocks.q_tile)
    kv_bounds = tile_bounds(pad_positions(kv_pos, GRANULE), GRANULE)
    expected = _visits_anywhere(q, sink_g, kv_bounds, blocks.visit_sizes)
    assert walk_visits(span_gt, sink_g, q_pos, kv_pos, blocks) == expected


def test_unsorted_keys_take_the_general_path_and_differ_in_nothing_but_order() -> None:
    position = np.arange(640, dtype=np.int32)
    by_granule = position.reshape(-1, GRANULE)[::-1].reshape(-1)
    for keys in (position, by_granule):
        assert granules_visited(walk_visits(*FULL, position, keys, Blocks(64, 64))) == 55


def test_a_million_tokens_cover_all_visible_pairs() -> None:
    position, blocks = np.arange(1 << 20, dtype=np.int32), Blocks(64, 512)
    covered = granules_visited(walk_visits(*FULL, position, position, blocks)) * GRANULE * blocks.q_tile
    assert 1 <= covered / visible_pairs(SpanPattern(), 1, 1 << 20) < 1.001


@pytest.mark.parametrize("whole", [False, True])
def test_a_walk_is_known_by_its_name(whole: bool) -> None:
    blocks = Blocks(32, 576, whole)
    assert blocks_of_walk(walk_name(blocks)) == blocks
    assert blocks_of_walk("walk_32x576") is None
