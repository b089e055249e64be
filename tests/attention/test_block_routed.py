"""Block-routed attention: tiles of chosen blocks and counts against the definition read out query by query."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attention.attend import attend
from attention.block_routed import BlockRouted
from attention.cost import Heads
from attention.kernels.block_routed import (
    MOST_ROWS,
    BlockChoice,
    attend_chosen,
    best_by_maximum,
    best_by_sorting,
    chosen_blocks,
    most_pairs,
)
from attention.kernels.row_tiles import choose_row_tile
from attention.layout import parse_variant
from attention.pattern import SpanPattern
from attention.variant import LayerInput
from tests.attention.dense_oracle import attend_dense, attend_masked
from tests.attention.growth_oracle import assert_growth_is_that_of_tokens
from tests.attention.layer_inputs import HEADS, first_tokens, heads, layer_input
from tests.compiling import AS_USERS_DO

pytestmark = pytest.mark.usefixtures("fast_compile")
COMPILING = settings(max_examples=4)
variants = st.builds(BlockRouted, st.sampled_from((1, 7, 16, 41)), st.integers(1, 5))


def blocks_by_hand(variant: BlockRouted, layer: LayerInput) -> list[tuple[tuple[int, int, int], list[int]]]:
    """The blocks that each (row, head, query) chose, its own first, then the best; in float64."""
    q, k = (np.asarray(x, np.float64) for x in (layer.q_btnh, layer.k_bskh))
    position = np.asarray(layer.q_pos_bt[0])
    group = q.shape[2] // k.shape[2]
    found = []
    for b, n, t in np.ndindex(q.shape[0], q.shape[2], q.shape[1]):
        own = int(position[t]) // variant.block
        means = k[b, : own * variant.block, n // group].reshape(own, variant.block, k.shape[3]).mean(1)
        best = np.argsort(-(means @ q[b, t, n]), kind="stable")[: variant.topk - 1]
        found.append(((b, n, t), [own, *best.tolist()]))
    return found


def mask_by_hand(variant: BlockRouted, layer: LayerInput) -> np.ndarray:
    """[B, N, T, S]."""
    (b, t, n, _), s = layer.q_btnh.shape, layer.k_bskh.shape[1]
    mask = np.zeros((b, n, t, s), bool)
    key, position = np.arange(s), np.asarray(layer.q_pos_bt[0])
    for (row, head, query), blocks in blocks_by_hand(variant, layer):
        mask[row, head, query] = np.isin(key // variant.block, blocks) & (key <= position[query])
    return mask


@COMPILING
@given(variants, heads, st.integers(1, 113), st.sampled_from((0, 19, 41)), st.integers(0, 99))
@example(BlockRouted(7, 3), HEADS[0], 97, 19, 0)  # many blocks to choose from, wherever others are drawn
def test_tiles_of_blocks_are_dense_attention_under_the_mask(variant, heads, tokens, start, seed):
    layer = layer_input(variant, heads, tokens, start, seed=seed)
    expected = attend_masked(layer.q_btnh, layer.k_bskh, layer.v_bskh, jnp.asarray(mask_by_hand(variant, layer)))
    for impl in ("blockwise", "dense"):
        run = partial(attend, impl=impl, need_lse=True)
        result = jax.jit(lambda layer, run=run: variant.attend(run, layer))(layer)
        chex.assert_trees_all_close((result.out_btnh, result.lse_bnt), expected, atol=2e-5, rtol=0)


@settings(max_examples=8)
@given(variants, heads, st.integers(1, 53), st.integers(0, 43))
def test_useful_pairs_are_the_masks_sum_and_gates_those_of_earlier_blocks(variant, heads, tokens, start):
    layer = layer_input(variant, heads, tokens, start, batch=1)
    useful = variant.useful(heads, tokens, start)
    assert useful.pairs == mask_by_hand(variant, layer).sum()
    earlier = sum(position // variant.block for position in range(start, start + tokens)) * (variant.topk > 1)
    assert useful.selection_flops == 2 * heads.head_dim * heads.n_heads * earlier


@pytest.mark.parametrize("topk", [1, 2, 4])
def test_what_tokens_cost_adds_up_to_what_a_prompt_does(topk):
    """With one block to choose there is no gate."""
    variant, heads = BlockRouted(5, topk), Heads(6, 2, 7, 11)
    each = variant.token_flops(heads, 13, 29)
    for tokens in (1, 8, 29):
        assert each[:tokens].sum() == variant.useful(heads, tokens, 13).flops(heads)
    costs = variant.useful(heads, 29, 13), variant.executed(heads, 29, 13, impl="blockwise")
    assert [cost.selection_flops > 0 for cost in costs] == [topk > 1] * 2


@pytest.mark.parametrize(("block", "topk"), [(5, 1), (7, 2), (4, 5)])
def test_the_growth_of_a_prompt_and_its_limit_are_those_of_its_tokens(block, topk):
    variant, heads = BlockRouted(block, topk), Heads(6, 2, 7, 11)
    each, found = variant.token_flops(heads, 0, 40 * block), variant.growth(heads)
    assert found.period_tokens == block
    assert_growth_is_that_of_tokens(each, found)
    limit = variant.limiting_flops(heads)
    assert limit == (each[-block:].sum() / block if topk == 1 else None)


@pytest.mark.parametrize(("block", "topk"), [(5, 1), (7, 2), (4, 5)])
def test_an_outline_holds_as_many_keys_as_are_useful_in_the_blocks_where_they_lie(block, topk):
    variant, heads, tokens = BlockRouted(block, topk), Heads(6, 2, 7, 11), 61
    ((earlier, own),) = variant.outline(heads, tokens).heads
    keys = sum((one.end_t - one.start_t) * one.share_t for one in (earlier, own))
    assert heads.n_heads * keys.sum() == pytest.approx(variant.useful(heads, tokens).pairs)
    np.testing.assert_array_equal(own.end_t, np.arange(tokens) + 1)
    np.testing.assert_array_equal(own.start_t, np.arange(tokens) // block * block)


@COMPILING
@given(variants, heads, st.integers(1, 113), st.sampled_from((0, 41)))
def test_tiles_that_ran_are_those_of_the_choice_and_within_what_is_counted(variant, heads, tokens, start):
    layer = layer_input(variant, heads, tokens, start, batch=1)
    slots, group = start + tokens, heads.n_heads // heads.n_kv_heads
    n_blocks = -(-slots // variant.block)
    tile = choose_row_tile(tokens * heads.n_heads, heads.n_kv_heads * n_blocks, MOST_ROWS)
    ran = int(jax.jit(lambda layer: variant.attend(attend_chosen, layer))(layer).visited)
    # A tile holds rows of one choice: the own block, the best earlier one, the second best, ...
    rows = np.zeros((n_blocks + 1, heads.n_kv_heads, n_blocks), int)
    for (_, n, _), blocks in blocks_by_hand(variant, layer):
        for choice, block in enumerate(blocks):
            rows[choice, n // group, block] += 1
    assert ran == (-(-rows // tile)).sum() * tile * variant.block
    executed = variant.executed(heads, tokens, start, impl="blockwise")
    assert executed.pairs >= ran >= variant.useful(heads, tokens, start).pairs


def test_the_first_tokens_alone_attend_alike():
    variant = BlockRouted(16, 3)
    layer = layer_input(variant, Heads(6, 2, 8, 11), 97)
    run = jax.jit(lambda layer: variant.attend(partial(attend, impl="blockwise"), layer).out_btnh)
    whole = run(layer)
    chex.assert_trees_all_close(run(first_tokens(layer, 53)), whole[:, :53], atol=1e-5)
    last = layer._replace(q_btnh=layer.q_btnh[:, -1:], q_pos_bt=layer.q_pos_bt[:, -1:])
    chex.assert_trees_all_close(run(last), whole[:, -1:], atol=1e-5)


@pytest.mark.parametrize("impl", ["blockwise", "dense"])
def test_slots_in_any_order_with_gaps_and_padded_queries(impl):
    variant = BlockRouted(7, 3)
    layer = layer_input(variant, Heads(6, 2, 8, 11), 61)
    run = jax.jit(lambda layer: variant.attend(partial(attend, impl=impl), layer).out_btnh)
    whole = run(layer)
    rng = np.random.default_rng(0)
    order = np.stack([rng.permutation(83) for _ in range(2)])  # slots 61.. are empty

    def shuffled(x, fill):
        padded = jnp.pad(x, [(0, 0), (0, 22)] + [(0, 0)] * (x.ndim - 2), constant_values=fill)
        return jnp.stack([row[at] for row, at in zip(padded, order, strict=True)])

    position = jnp.broadcast_to(layer.kv_pos_bks[:, 0], (2, 61))
    mixed = layer._replace(
        k_bskh=shuffled(layer.k_bskh, 9.0),
        v_bskh=shuffled(layer.v_bskh, 9.0),
        kv_pos_bks=shuffled(position, -1)[:, None],
        q_pos_bt=layer.q_pos_bt.at[:, 50:].set(-1),
    )
    out = run(mixed)
    chex.assert_trees_all_close(out[:, :50], whole[:, :50], atol=1e-5)
    assert not np.asarray(out[:, 50:]).any()


def test_many_tiles_at_a_time_are_tiles_one_by_one(monkeypatch):
    """As a GPU computes them: the same, with as many FLOPs in the program; and all of them run."""
    operands, choice = layer_input(BlockRouted(7, 3), Heads(6, 2, 8, 11), 131, batch=1)[1:6], BlockChoice(7, 3)

    def found():
        run = partial(attend_chosen, pattern=choice)
        attended = jax.jit(run)(*operands)
        return (attended.out_btnh, attended.lse_bnt), int(attended.visited)

    one_by_one, with_rows = found()
    monkeypatch.setattr("attention.kernels.block_routed.current_target", lambda: "gfx1201")
    monkeypatch.setattr("attention.kernels.block_routed.TILES_AT_A_TIME", 5)
    many, ran = found()
    chex.assert_trees_all_close(many, one_by_one, atol=1e-6)
    assert ran > with_rows and ran == most_pairs(choice, 6, 2, 131, 131)


@pytest.mark.parametrize("choices", [1, 3, 5])
def test_maxima_one_after_the_other_are_the_first_of_a_sort(choices):
    """Few values, so that many are equal; zeros of both signs are."""
    gate = np.random.default_rng(0).choice([-np.inf, -1.0, 0.0, -0.0, 2.0], (7, 13, 5)).astype(np.float32)
    gate[0] = -np.inf
    chex.assert_trees_all_equal(*(best(jnp.asarray(gate), choices) for best in (best_by_maximum, best_by_sorting)))


def test_a_gpu_chooses_the_same_blocks(monkeypatch):
    q, k, _, q_pos, _ = layer_input(BlockRouted(7, 3), Heads(6, 2, 8, 11), 133)[1:6]
    choose = partial(chosen_blocks, q, k.swapaxes(1, 2), q_pos, BlockChoice(7, 3))
    on_cpu = choose()
    monkeypatch.setattr("attention.kernels.block_routed.current_target", lambda: "gfx1201")
    for queries in (11, 1000):
        monkeypatch.setattr("attention.kernels.block_routed.GATES_BYTES", queries * 2 * 6 * 19 * 4)
        chex.assert_trees_all_equal(choose(), on_cpu)


@pytest.mark.parametrize("text", ["moba(16, topk=7)", "moba(97, topk=1)", "moba(1000)"])
def test_as_many_choices_as_blocks_are_full_attention(text):
    layer = layer_input(parse_variant(text), Heads(6, 2, 8, 11), 97)
    out = jax.jit(lambda layer: parse_variant(text).attend(partial(attend, impl="blockwise"), layer).out_btnh)(layer)
    full, _ = attend_dense(*layer[1:6], SpanPattern())
    chex.assert_trees_all_close(out, full, atol=1e-5)


def test_of_equal_gates_the_earlier_block_wins():
    variant, tokens = BlockRouted(4, 3), 21
    q, keys = jnp.ones((1, tokens, 1, tokens)), jnp.zeros((1, tokens, 1, tokens))
    position = jnp.arange(tokens)[None]
    for impl in ("blockwise", "dense"):
        layer = LayerInput(q, q, keys, jnp.eye(tokens)[None, :, None], position, position[:, None], {}, jnp.int32(0))
        run = jax.jit(lambda layer, impl=impl: variant.attend(partial(attend, impl=impl), layer).out_btnh)
        seen = np.asarray(run(layer)[0, 18, 0]) > 0
        assert np.flatnonzero(seen).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18]


def test_gradients_are_those_of_the_dense_form():
    variant = BlockRouted(7, 3)
    layer = layer_input(variant, Heads(6, 2, 8, 11), 31)

    def loss(qkv, impl):
        q, k, v = qkv
        found = variant.attend(partial(attend, impl=impl), layer._replace(q_btnh=q, k_bskh=k, v_bskh=v))
        return (found.out_btnh**2).sum()

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    grads = [gradient((layer.q_btnh, layer.k_bskh, layer.v_bskh), impl) for impl in ("blockwise", "dense")]
    chex.assert_trees_all_close(*grads, atol=1e-4)


def test_memory_is_linear_in_the_prompt():
    def temp_bytes(tokens: int) -> int:
        shapes = jax.eval_shape(lambda: layer_input(variant, heads, tokens, batch=1))
        run = jax.jit(lambda layer: variant.attend(partial(attend, impl="blockwise"), layer).out_btnh)
        return run.lower(shapes).compile(AS_USERS_DO).memory_analysis().temp_size_in_bytes

    variant, heads = BlockRouted(128, 3), Heads(6, 2, 16, 11)
    short, long = temp_bytes(16_384), temp_bytes(65_536)
    assert long < 4.2 * short


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("moba(0)", "moba: block must be at least 1, got 0"),
        ("moba(topk=0)", "moba: topk must be at least 1, got 0"),
        ("moba(512, k=3)", r"'k' which it does not have"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match=message):
        parse_variant(text)
