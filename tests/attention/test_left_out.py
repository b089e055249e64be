"""Blocks that are left out, as their means: against the definition in float64, and counts of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attention.attend import attend
from attention.attended import Attended
from attention.block_ruled import BlocksByRule
from attention.block_rules import CausalAntidiagonal, CausalFlash
from attention.chosen import ChosenBlocks
from attention.cost import Heads
from attention.kernels.left_out import with_means
from attention.layout import parse_variant
from attention.sink_logits import with_sink_logits
from attention.variant import LayerInput
from eval.measure.layer_program import layer_kernel
from eval.testing import assert_causal, assert_flops_agree, assert_matches_dense
from eval.testing.variant_audit import CHECKS, audit
from eval.testing.variant_case import VariantCase
from tests.attention.growth_oracle import off_quadratic
from tests.attention.layer_inputs import layer_input
from tests.attention.rules_by_hand import ruled_blocks
from tests.compiling import AS_USERS_DO

pytestmark = pytest.mark.usefixtures("fast_compile")
HEADS = (Heads(6, 2, 10, 11), Heads(3, 3, 14, 13), Heads(5, 1, 8, 3))
FLASH = BlocksByRule(CausalFlash(1, 2), 7, 5, mean=True)
ANTI = BlocksByRule(CausalAntidiagonal(0, 1, 3), 6, 3, mean=True)


def by_hand(variant: BlocksByRule, layer: LayerInput, sink_n: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """Output [B, T, N, H] and log-sum-exp [B, N, T] in float64: keys that are read, and means of the others."""
    q, k, v = (np.asarray(x, np.float64) for x in (layer.q_btnh, layer.k_bskh, layer.v_bskh))
    position, block, group = np.asarray(layer.q_pos_bt[0]), variant.block, q.shape[2] // k.shape[2]
    out, lse = np.zeros(q.shape), np.zeros((q.shape[0], q.shape[2], q.shape[1]))
    for (b, g, t), blocks in ruled_blocks(variant, q, k, position):
        read = [s for s in range(position[t] + 1) if s // block in blocks]
        left = [slice(c * block, (c + 1) * block) for c in range(blocks[0]) if c not in blocks]
        keys = np.stack([*k[b, read, g], *(k[b, one, g].mean(0) for one in left)])
        values = np.stack([*v[b, read, g], *(v[b, one, g].mean(0) for one in left)])
        times = np.array([1] * len(read) + [block] * len(left))
        for n in range(g * group, (g + 1) * group):
            weight = times * np.exp(keys @ q[b, t, n] / q.shape[3] ** 0.5)
            total = weight.sum() + (0 if sink_n is None else np.exp(sink_n[n]))
            out[b, t, n], lse[b, n, t] = weight @ values / total, np.log(total)
    return out, lse


@settings(max_examples=2)
@given(
    st.sampled_from((FLASH, ANTI)), st.sampled_from(HEADS), st.integers(8, 113), st.integers(0, 9),
    st.sampled_from(("blockwise", "dense")),
)  # fmt: skip
@example(FLASH, HEADS[0], 97, 0, "blockwise")
@example(ANTI, HEADS[1], 89, 0, "dense")
def test_a_prompt_in_any_steps_is_the_definition(variant, heads, tokens, seed, impl):
    case = VariantCase(variant, tokens, heads, seed)
    expected, _ = by_hand(variant, case.layer_input)
    for steps in case.schedules():
        np.testing.assert_allclose(case.run(impl, steps), expected, atol=2e-5)


@pytest.mark.parametrize("start", [0, 19])
def test_its_log_sum_exp_is_that_of_all_and_learned_sinks_are_in_it(start):
    layer, sink_n = layer_input(FLASH, HEADS[0], 59, start), np.linspace(-1, 3, 6)

    @jax.jit
    def run(layer):
        plain = partial(attend, impl="blockwise", need_lse=True)
        return [FLASH.attend(one, layer) for one in (plain, with_sink_logits(attend, jnp.asarray(sink_n, jnp.float32)))]

    for found, sinks in zip(run(layer), (None, sink_n), strict=True):
        chex.assert_trees_all_close((found.out_btnh, found.lse_bnt), by_hand(FLASH, layer, sinks), atol=2e-5)


def test_padding_gets_nothing():
    layer = layer_input(FLASH, HEADS[0], 59)
    padded = layer._replace(q_pos_bt=layer.q_pos_bt.at[:, 51:].set(-1))
    run = jax.jit(lambda layer: FLASH.attend(partial(attend, impl="blockwise"), layer))
    whole, found = run(layer), run(padded)
    chex.assert_trees_all_close(found.out_btnh[:, :51], whole.out_btnh[:, :51], atol=1e-6)
    assert not found.out_btnh[:, 51:].any() and (found.lse_bnt[..., 51:] == -jnp.inf).all()


@pytest.mark.parametrize("variant", [FLASH, ANTI], ids=str)
def test_no_bit_comes_from_the_future(variant):
    assert_causal(variant, tokens=67, heads=HEADS[0])


def test_keys_of_a_block_that_are_alike_lose_nothing_by_being_left_out():
    """Then it is full attention, whatever is chosen."""
    layer, block = layer_input(FLASH, HEADS[0], 63), FLASH.block
    alike = layer._replace(k_bskh=layer.k_bskh[:, ::block].repeat(block, axis=1))
    run = jax.jit(lambda one, layer: one.attend(partial(attend, impl="dense"), layer).out_btnh, static_argnums=0)
    chex.assert_trees_all_close(run(FLASH, alike), run(parse_variant("full"), alike), atol=2e-5)


@settings(max_examples=12)
@given(st.sampled_from((FLASH, ANTI)), st.integers(1, 53), st.integers(0, 53))
def test_useful_are_a_key_and_a_value_for_each_block_that_is_left_out(variant, tokens, start):
    found, heads = variant.useful(HEADS[0], tokens, start), HEADS[0]
    left = np.maximum(np.arange(start, start + tokens) // variant.block - (variant.topk - 1), 0).sum()
    assert found == (*replace(variant, mean=False).useful(heads, tokens, start)[:2], 4 * 10 * 6 * left)
    each = variant.token_flops(heads, start, tokens)
    assert each.sum() == found.flops(heads)


def test_counts_are_those_of_what_runs():
    for variant, impl in ((FLASH, "blockwise"), (ANTI, "dense")):
        assert_flops_agree(variant, tokens=97, heads=HEADS[0], impl=impl)


def test_the_growth_of_a_prompt_is_within_its_ripple():
    """Of few heads' keys and many blocks, whose means are most of it."""
    each, found = FLASH.token_flops(HEADS[0], 0, 280), FLASH.growth(HEADS[0])
    at_ends, anywhere = off_quadratic(each, found)
    assert at_ends < 1e-6 * each.sum() and anywhere <= found.ripple_flops
    more = replace(FLASH, mean=False).growth(HEADS[0]).ripple_flops
    assert found.ripple_flops - more == 4 * 10 * 6  # a block of seven: B/8, rounded up


def test_gradients_are_those_of_the_dense_form_and_reach_what_is_left_out():
    layer = layer_input(FLASH, HEADS[0], 61)

    def loss(kv, impl):
        k, v = kv
        return (FLASH.attend(partial(attend, impl=impl), layer._replace(k_bskh=k, v_bskh=v)).out_btnh[:, -1] ** 2).sum()

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    grads = [gradient((layer.k_bskh, layer.v_bskh), impl) for impl in ("blockwise", "dense")]
    chex.assert_trees_all_close(*grads, atol=1e-4)
    assert all((jnp.abs(x).max((0, 3)) > 0).all() for x in grads[0])
    step = 1e-2 * layer_input(FLASH, HEADS[0], 61, seed=5).k_bskh
    losses, k, v = jax.jit(loss, static_argnums=1), layer.k_bskh, layer.v_bskh
    slope = (losses((k + step, v), "dense") - losses((k - step, v), "dense")) / 2
    assert slope == pytest.approx(float((grads[1][0] * step).sum()), rel=0.02)


def test_memory_is_linear_in_the_prompt():
    def temp_bytes(tokens: int) -> int:
        _, (inputs, params) = case.kernel("blockwise", batch=1)
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, tokens, *x.shape[2:]), x.dtype), inputs)
        kernel, _ = layer_kernel(case.config, variant, tokens, jnp.float32, inputs=shapes)
        return jax.jit(kernel).lower(shapes, params).compile(AS_USERS_DO).memory_analysis().temp_size_in_bytes

    variant = parse_variant("blocks(topk=4, mean=true, sinks=1, window=2)")
    case = VariantCase(variant, 64, Heads(6, 2, 16, 11), 0)
    short, long = temp_bytes(8_192), temp_bytes(32_768)
    assert long < 4.2 * short and long < 32_768**2  # less than a byte a pair


def test_memory_of_a_gradient_is_linear_in_the_prompt():
    def temp_bytes(tokens: int) -> int:
        shapes = jax.eval_shape(lambda: layer_input(variant, Heads(6, 2, 8, 11), tokens, batch=1))

        def loss(kv, layer):
            k, v = (x.swapaxes(1, 2) for x in kv)
            chosen = ChosenBlocks(16, 4, jnp.zeros((4, 1, tokens, 2), jnp.int32))
            attended = Attended(layer.q_btnh, jnp.zeros((1, 6, tokens)))
            return (with_means(attended, layer.q_btnh, k, v, layer.q_pos_bt, chosen).out_btnh ** 2).sum()

        lowered = jax.jit(jax.grad(loss)).lower((shapes.k_bskh, shapes.v_bskh), shapes)
        return lowered.compile(AS_USERS_DO).memory_analysis().temp_size_in_bytes

    variant = parse_variant("blocks(block=16, topk=4, mean=true, sinks=1, window=2)")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("attention.kernels.left_out.LOGITS_BYTES", 2**18)
        short, long = temp_bytes(1_024), temp_bytes(4_096)
    assert long < 4.2 * short


def test_an_audit_holds_it_to_what_it_owes():
    found = audit(FLASH, tokens=53)
    assert {name: verdict.status for name, verdict in found.verdicts.items()} == dict.fromkeys(CHECKS, "holds")


def test_no_mask_says_what_it_gives():
    with pytest.raises(ValueError, match=r"mean=true.* is no softmax attention to keys alone"):
        assert_matches_dense(FLASH, tokens=67)
