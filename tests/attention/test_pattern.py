"""The description against the plainest possible reading of it, and every derivation against the dense mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attention.layout import parse_variant
from attention.mask import dense_mask
from attention.pattern import (
    UNBOUNDED,
    SpanPattern,
    Spans,
    Tile,
    cache_tokens,
    holds_everything,
    still_needed,
    visible_pairs,
)
from attention.variants import VARIANTS
from tests.examples import EXAMPLES
from tests.strategies import patterns
from tests.tile_map import tile_map

N_HEADS = 3


def by_hand(pattern: SpanPattern, q_pos, kv_pos) -> np.ndarray:
    """The definition, one pair at a time: [N, T, S]."""
    return np.array(
        [
            [[0 <= s <= p and (s < sink or p - s < span) for s in kv_pos] for p in q_pos]
            for span, sink in pattern.per_head(N_HEADS)
        ]
    )


@given(patterns(N_HEADS), st.lists(st.integers(-1, 60), min_size=1, max_size=29), st.integers(1, 31))
def test_dense_mask_is_the_definition(pattern, kv_pos, queries):
    q_pos = np.arange(7, 7 + queries)
    mask = dense_mask(pattern, q_pos[None], np.array(kv_pos)[None, None], N_HEADS)
    np.testing.assert_array_equal(mask[0], by_hand(pattern, q_pos, kv_pos))


@given(patterns(N_HEADS), st.integers(0, 83), st.integers(0, 61))
def test_pair_count_is_the_masks_sum(pattern, tokens, start):
    q_pos, kv_pos = np.arange(start, start + tokens), np.arange(start + tokens)
    mask = dense_mask(pattern, q_pos[None], kv_pos[None, None], N_HEADS)
    assert visible_pairs(pattern, N_HEADS, tokens, start) == mask.sum()


@given(patterns(N_HEADS), st.integers(1, 101), st.integers(0, 61), st.sampled_from(((8, 16), (32, 8), (16, 64))))
def test_tile_map_is_exact_for_consecutive_positions(pattern, tokens, start, tiles):
    q_tile, kv_tile = tiles
    q_pos, kv_pos = np.arange(start, start + tokens), np.arange(start + tokens)
    kinds = tile_map(pattern, q_pos, kv_pos, q_tile, kv_tile)
    for head, mask_ts in enumerate(by_hand(pattern, q_pos, kv_pos)[: len(kinds)]):
        for i, j in np.ndindex(kinds[head].shape):
            tile = mask_ts[i * q_tile : (i + 1) * q_tile, j * kv_tile : (j + 1) * kv_tile]
            whole = tile.all() and tile.shape[1] == kv_tile  # padding keys count as invisible
            expected = Tile.DENSE if whole else Tile.PARTIAL if tile.any() else Tile.SKIP
            assert kinds[head, i, j] == expected


@given(patterns(N_HEADS), st.integers(0, 2**32 - 1))
def test_tile_map_is_safe_for_any_positions(pattern, seed):
    rng = np.random.default_rng(seed)
    q_pos, kv_pos = np.sort(rng.integers(-1, 200, 37)), rng.permutation(np.r_[[-1] * 9, rng.integers(0, 200, 70)])
    kinds = tile_map(pattern, q_pos, kv_pos, 8, 16)
    for head, mask_ts in enumerate(by_hand(pattern, q_pos, kv_pos)[: len(kinds)]):
        for i, j in np.ndindex(kinds[head].shape):
            rows = q_pos[i * 8 : (i + 1) * 8] >= 0  # nobody reads what a padding query computes
            tile = mask_ts[i * 8 : (i + 1) * 8, j * 16 : (j + 1) * 16][rows]
            assert kinds[head, i, j] != Tile.SKIP or not tile.any()
            assert kinds[head, i, j] != Tile.DENSE or (tile.all() and tile.shape[1] == 16)


@given(patterns(N_HEADS), st.integers(1, 97))
def test_a_slot_goes_exactly_when_no_later_query_sees_it(pattern, tokens):
    kv_pos = np.arange(tokens)
    later = by_hand(pattern, np.arange(tokens, tokens + 400), kv_pos).any((0, 1))
    kept = still_needed(pattern, kv_pos, tokens)
    assert not (later & ~kept).any()
    if pattern.is_uniform:
        np.testing.assert_array_equal(kept, later)
    assert kept.sum() <= cache_tokens(pattern, tokens)


def test_the_longest_span_and_the_most_sinks_of_any_head_rule_the_cache():
    pattern = SpanPattern((5, 29), (2, 11))
    assert cache_tokens(pattern, 100) == 28 + 11 and cache_tokens(pattern, 31) == 31
    assert holds_everything(pattern, 38) and not holds_everything(pattern, 39)
    np.testing.assert_array_equal(still_needed(pattern, np.arange(97), 97), [s < 11 or 97 - s < 29 for s in range(97)])


def test_a_tile_that_ends_at_the_first_key_behind_the_sinks_is_not_whole():
    seen = tile_map(SpanPattern((2,), (15,)), np.arange(40, 48), np.arange(48), 8, 8)[0, 0]
    assert seen.tolist() == [Tile.DENSE, Tile.PARTIAL, Tile.SKIP, Tile.SKIP, Tile.PARTIAL, Tile.PARTIAL]


@pytest.mark.parametrize(("of_spans", "of_sinks"), [(1, 1), (2, 6), (6, 2), (1, 2), (2, 1)])
def test_spans_that_are_data_belong_to_the_heads_of_their_group(of_spans, of_sinks):
    rng, n_heads, n_kv_heads = np.random.default_rng(3), 6, 2
    span_bmt, sink_m = rng.integers(1, 9, (3, of_spans, 7)), rng.permutation(11)[:of_sinks]
    q_pos, kv_pos_bks = np.arange(10, 17), rng.permutation(3 * n_kv_heads * 17).reshape(3, n_kv_heads, 17) % 19 - 1
    mask = dense_mask(Spans(span_bmt, sink_m), q_pos[None], kv_pos_bks, n_heads)
    for b, n, i, j in np.ndindex(mask.shape):
        p, s = q_pos[i], kv_pos_bks[b, n // 3, j]
        span, sink = span_bmt[b, n * of_spans // n_heads, i], sink_m[n * of_sinks // n_heads]
        assert mask[b, n, i, j] == (0 <= s <= p and (s < sink or p - s < span))


def test_every_registered_variant_has_a_pattern_and_a_spelling():
    assert {type(parse_variant(text)) for text in EXAMPLES} == set(VARIANTS.values())


@pytest.mark.parametrize("bad", [{"span": (0,)}, {"span": ()}, {"sink": (-1,)}, {"span": (UNBOUNDED + 1,)}])
def test_bad_patterns_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        SpanPattern(**bad)


def test_counts_refuse_negative_lengths():
    with pytest.raises(ValueError, match="tokens=-1"):
        visible_pairs(SpanPattern(), 1, -1)
    with pytest.raises(ValueError, match="2 heads, the model has 3"):
        visible_pairs(SpanPattern(span=(1, 2)), 3, 5)
