"""What is timed as a layer's attention is attention; that it is what is counted, `eval.testing` asserts."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import pytest

from attention.kernels.dense import attend_dense
from attention.layout import parse_variant
from attention.pattern import SpanPattern
from eval.measure.layer_program import chained, layer_kernel
from refmodel.presets import preset

pytestmark = pytest.mark.usefixtures("fast_compile")

DELTA = "delta(key_heads=2, value_heads=4, key_dim=8, value_dim=12)"
TOKENS = 331  # long enough for the blockwise path


def test_the_kernel_is_attention() -> None:
    config = preset("tiny-dense")
    kernel, (inputs, params) = layer_kernel(config, parse_variant("swa(29, sinks=3)"), TOKENS, jnp.float32)
    position = jnp.arange(TOKENS)
    expected, _ = attend_dense(*inputs[1:], position[None], position[None, None], SpanPattern((29,), (3,)))
    chex.assert_trees_all_close(jax.jit(kernel)(inputs, params).out_btnh, expected, atol=2e-5)


def test_learned_sinks_are_in_what_is_timed() -> None:
    config = preset("tiny-dense").with_each_layer(sink_logits=True)
    kernel, (inputs, params) = layer_kernel(config, parse_variant("swa(29)"), TOKENS, jnp.float32)
    position = jnp.arange(TOKENS)
    out_btnh, lse_bnt = attend_dense(*inputs[1:], position[None], position[None, None], SpanPattern((29,)))
    share_btn = jax.nn.sigmoid(lse_bnt - params["sinks"][:, None]).swapaxes(1, 2)
    chex.assert_trees_all_close(jax.jit(kernel)(inputs, params).out_btnh, out_btnh * share_btn[..., None], atol=2e-5)


def test_inputs_of_another_variant_are_those_that_would_be_drawn() -> None:
    _, (given, _) = layer_kernel(preset("tiny-dense"), parse_variant("full"), TOKENS, jnp.float32)
    for text in ("swa(29)", "routed(5|full, router=linear)", "evict(keydiff, budget=64, chunk=64)"):
        make = partial(layer_kernel, preset("tiny-dense"), parse_variant(text), TOKENS, jnp.float32)
        (_, drawn), (_, shared) = make(), make(inputs=given)
        chex.assert_trees_all_equal(shared, drawn)
        assert shared[0] is given


def test_a_variant_with_other_operands_draws_its_own() -> None:
    """DeltaNet layers mix channels of their own sizes: what full attention read is nothing for them."""
    config = preset("tiny-dense")
    _, (given, _) = layer_kernel(config, parse_variant("full"), TOKENS, jnp.float32)
    kernel, (own, params) = layer_kernel(config, parse_variant(DELTA), TOKENS, jnp.float32, inputs=given)
    assert own is not given and jnp.isfinite(jax.jit(kernel)(own, params).out_btnh).all()


def test_a_chain_of_outputs_that_are_no_queries_is_the_last_call() -> None:
    kernel, (inputs, params) = layer_kernel(preset("tiny-dense"), parse_variant(DELTA), TOKENS, jnp.float32)
    once, chain = jax.jit(kernel)(inputs, params).out_btnh, jax.jit(chained(kernel, 3))
    assert once.shape != inputs.q_btnh.shape
    chex.assert_trees_all_close(chain(inputs, params), once, atol=2e-5)
    runs = jax.make_jaxpr(chained(kernel, 6))(inputs, params).pretty_print()
    assert "length=6" in runs and "optimization_barrier" in runs


def test_a_chain_feeds_each_output_to_the_next_call() -> None:
    """Three: a turn of two, and one left over."""
    kernel, (inputs, params) = layer_kernel(preset("tiny-dense"), parse_variant("swa(29)"), TOKENS, jnp.float32)
    expected, once = inputs.q_btnh, jax.jit(kernel)
    for _ in range(3):
        expected = once(inputs._replace(q_btnh=expected), params).out_btnh
    chex.assert_trees_all_close(jax.jit(chained(kernel, 3))(inputs, params), expected, atol=2e-5)
