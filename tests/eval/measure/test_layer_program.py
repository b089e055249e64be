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


def test_a_chain_feeds_each_output_to_the_next_call() -> None:
    """Three: a turn of two, and one left over."""
    kernel, (inputs, params) = layer_kernel(preset("tiny-dense"), parse_variant("swa(29)"), TOKENS, jnp.float32)
    expected, once = inputs.q_btnh, jax.jit(kernel)
    for _ in range(3):
        expected = once(inputs._replace(q_btnh=expected), params).out_btnh
    chex.assert_trees_all_close(jax.jit(chained(kernel, 3))(inputs, params), expected, atol=2e-5)
