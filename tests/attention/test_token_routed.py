"""Token-routed spans: the packed path, the counts and the statistics against the definition read out pair by pair."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.attend import attend
from attention.cost import Depth, Heads, step_positions
from attention.kernels.blockwise import attend_blockwise
from attention.layout import parse_variant
from attention.pattern import UNBOUNDED
from attention.routers import ROUTERS, KeyNorm, Random
from attention.token_routed import Routed, route_statistics
from attention.variant import LayerInput
from tests.attention.dense_oracle import attend_masked
from tests.attention.layer_inputs import first_tokens, heads, layer_input
from tests.attention.routes_by_hand import routes_by_hand

pytestmark = pytest.mark.usefixtures("fast_compile")
COMPILING = settings(max_examples=4)
FIXED = tuple(name for name, router in ROUTERS.items() if not router.reads_tokens)


@st.composite
def variants(draw, routers=tuple(ROUTERS)) -> Routed:
    spans = tuple(draw(st.lists(st.sampled_from((1, 5, 37, 130, UNBOUNDED)), min_size=1, max_size=3)))
    router = draw(st.sampled_from(routers))
    return Routed(
        spans,
        draw(st.sampled_from((0, 3, 70))),
        draw(st.sampled_from(("layer", "group", "head"))),
        {"random": Random(draw(st.integers(0, 99))), "keynorm": KeyNorm(2.3)}.get(router) or ROUTERS[router](),
    )


def mask_by_hand(variant: Routed, layer: LayerInput) -> np.ndarray:
    """The definition, [B, N, T, S]."""
    heads = layer.q_btnh.shape[2]
    route = routes_by_hand(variant, layer)
    span = np.array(variant.spans)[route.repeat(heads // route.shape[1], axis=1)][..., None]
    t, j = np.asarray(layer.q_pos_bt[0])[:, None], np.asarray(layer.kv_pos_bks[0, 0])
    return (j <= t) & ((j > t - span) | (j < variant.sinks))


@COMPILING
@given(variants(), heads, st.integers(1, 307), st.sampled_from((0, 19, 101)), st.integers(0, 99))
def test_packed_attention_is_dense_attention_under_its_mask(variant, heads, tokens, start, seed):
    layer = layer_input(variant, heads, tokens, start, seed=seed)
    expected, _ = attend_masked(layer.q_btnh, layer.k_bskh, layer.v_bskh, mask_by_hand(variant, layer))
    for impl in ("blockwise", "dense"):
        run = partial(attend, impl=impl)
        out = jax.jit(lambda layer, run=run: variant.attend(run, layer).out_btnh)(layer)
        chex.assert_trees_all_close(out, expected, atol=2e-5, rtol=0)


@settings(max_examples=10)
@given(variants(FIXED), heads, st.integers(1, 83), st.integers(0, 41))
def test_useful_pairs_are_the_masks_sum(variant, heads, tokens, start):
    layer = layer_input(variant, heads, tokens, start, batch=1, depth=3)
    assert variant.useful(heads, tokens, start, Depth(3, 5)).pairs == mask_by_hand(variant, layer).sum()


@COMPILING
@given(variants(FIXED), heads, st.integers(1, 307), st.sampled_from((0, 64, 111)))
def test_executed_pairs_are_those_that_ran(variant, heads, tokens, start):
    q_pos, kv_pos = step_positions(variant.pattern(), tokens, start, start + tokens)
    layer = layer_input(variant, heads, tokens, kv_pos.size - tokens, batch=1)
    layer = layer._replace(q_pos_bt=jnp.asarray(q_pos)[None], kv_pos_bks=jnp.asarray(kv_pos)[None, None])
    pairs = int(jax.jit(lambda layer: variant.attend(attend_blockwise, layer))(layer).visited)
    executed = variant.executed(heads, tokens, start, impl="blockwise", depth=Depth(3, 5)).pairs
    assert executed == pairs >= variant.useful(heads, tokens, start, Depth(3, 5)).pairs


def test_what_a_cache_keeps_is_as_far_as_the_longest_span_looks():
    variant = Routed((3, 17, 5), sinks=2, router=ROUTERS["periodic"]())
    q_pos, kv_pos = step_positions(variant.pattern(), 11, 40, 51)
    seen = {j for t in q_pos for j in range(t + 1) if j < 2 or j > t - 17}
    assert seen == set(kv_pos.tolist()) - {-1}


@pytest.mark.parametrize("router", ["linear", "random, per=head, seed=5", "keynorm, per=group, threshold=2.3"])
def test_the_first_tokens_alone_are_routed_and_attended_alike(router):
    variant, heads = parse_variant(f"routed(7|full|40, router={router})"), Heads(6, 2, 8, 11)
    layer = layer_input(variant, heads, 97)
    run = jax.jit(
        lambda layer: (variant.attend(partial(attend, impl="blockwise"), layer).out_btnh, variant.routes(layer))
    )
    whole, routes = run(layer)
    alone, routes_alone = run(first_tokens(layer, 53))
    chex.assert_trees_all_close(alone, whole[:, :53], atol=1e-5)
    chex.assert_trees_all_equal(routes_alone, routes[..., :53])
    for number in (0, 96):  # decode
        one = first_tokens(layer, number + 1)
        one = one._replace(x_btd=one.x_btd[:, -1:], q_btnh=one.q_btnh[:, -1:], q_pos_bt=one.q_pos_bt[:, -1:])
        chex.assert_trees_all_close(run(one)[0], whole[:, [number]], atol=1e-5)


@pytest.mark.parametrize(("spans", "same"), [("full|13", "full"), ("13|full", "swa(13, sinks=3)")])
def test_all_far_is_full_attention_and_all_near_a_window(spans, same):
    variant = parse_variant(f"routed({spans}, sinks=3, per=group)")
    layer = layer_input(variant, Heads(6, 2, 8, 11), 149)
    layer = layer._replace(params=jax.tree.map(jnp.zeros_like, layer.params))  # the first of equal routes
    packed = jax.jit(lambda layer: variant.attend(partial(attend, impl="blockwise"), layer).out_btnh)(layer)
    chex.assert_trees_all_close(
        packed, parse_variant(same).attend(partial(attend, impl="dense"), layer).out_btnh, atol=1e-5
    )


def test_routes_that_are_drawn_are_spread_and_differ_by_seed_layer_and_unit():
    heads, tokens = Heads(6, 2, 8, 11), 4096
    position = np.arange(tokens)
    routes = parse_variant("routed(1|2|3, per=head, router=random)").routes_of(heads)
    each = [(Random(seed), np.asarray(layer)) for seed in (0, 1) for layer in (0, 1)]
    draws = np.concatenate([router.at_positions(routes, position, layer) for router, layer in each])
    shares = (draws[..., None] == np.arange(3)).mean(1)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.03)
    agree = (draws[:, None] == draws[None]).mean(-1)
    np.testing.assert_allclose(agree[~np.eye(len(draws), dtype=bool)], 1 / 3, atol=0.04)


def test_statistics_count_routes_and_keys():
    variant, heads = parse_variant("routed(4|4|full, sinks=1, router=periodic, per=group)"), Heads(6, 2, 8, 11)
    layer = layer_input(variant, heads, 30, batch=1)
    share_me, mean_keys = route_statistics(variant, variant.routes(layer), layer.q_pos_bt)
    np.testing.assert_allclose(share_me, np.full((2, 3), 1 / 3))
    np.testing.assert_allclose(mean_keys, variant.useful(heads, 30).pairs / (30 * heads.n_heads), rtol=1e-6)


def test_padding_is_no_token_of_the_statistics():
    variant, heads = parse_variant("routed(4|full, router=keynorm, threshold=2.3)"), Heads(6, 2, 8, 11)
    layer = layer_input(variant, heads, 13)
    route_bmt, pos_bt = np.asarray(variant.routes(layer)), np.array([[*range(13)], [*range(8), *[-1] * 5]], np.int32)
    found = route_statistics(variant, jnp.asarray(route_bmt), jnp.asarray(pos_bt))
    taken = np.concatenate([route_bmt[0, 0], route_bmt[1, 0, :8]])
    np.testing.assert_allclose(found.share_me, [[(taken == 0).mean(), (taken == 1).mean()]], rtol=1e-6)
    keys = np.minimum(np.r_[np.arange(13), np.arange(8)] + 1, np.array([8, UNBOUNDED])[taken])
    np.testing.assert_allclose(found.mean_keys, keys.mean(), rtol=1e-6)


def test_a_named_share_of_the_tokens_looks_far():
    heads = Heads(6, 2, 8)
    near, mixed = (parse_variant(f"routed({spans}, router=periodic)") for spans in ("9", "9|9|9|full"))
    full = parse_variant("full").useful(heads, 4000).pairs
    far_share = (mixed.useful(heads, 4000).pairs - 0.75 * near.useful(heads, 4000).pairs) / full
    assert far_share == pytest.approx(0.25, abs=1e-3)


def test_the_limit_is_the_mean_route_and_its_router():
    heads = Heads(6, 2, 8, 11)
    assert parse_variant("routed(9|full)").limiting_flops(heads) is None
    variant = parse_variant("routed(9|20, sinks=2)")
    one_token = variant.useful(heads, 2, 1000).flops(heads) / 2
    assert variant.limiting_flops(heads) == one_token == 4 * 8 * 6 * (11 + 22) / 2 + 2 * 11 * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("routed(0|5)", r"routed: each span must be at least 1 key \(the query's own\), got 0\|5"),
        ("routed(far)", "spans must be spans like 256|2048|full, got 'far'"),
        ("routed(5, sinks=-1)", "sinks must be at least 0 keys, got -1"),
        ("routed(5, per=token)", "no per 'token'; accepted: layer, group, head"),
        ("routed(5, router=topk)", "no router 'topk'; accepted: linear, periodic, random, keynorm"),
        (
            "routed(5, router=periodic, seed=3)",
            r"'seed' which it does not have; accepted: routed\(.*, router=periodic\)",
        ),
        ("routed(5, threshold=3)", r"'threshold' which it does not have"),
        ("routed(5, router=keynorm)", r"lacks threshold; accepted: routed\(.*, router=keynorm, threshold\)"),
        ("routed(5, router=keynorm, threshold=-1)", r"the router keynorm needs a threshold above 0, got -1.0"),
        ("routed(5, span=3)", r"'span' which it does not have \(did you mean 'spans'\?\)"),
    ],
)
def test_bad_parameters_are_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match=message.replace("256|2048", r"256\|2048")) as caught:
        parse_variant(text)
    assert "\n" not in str(caught.value)
