"""Layers timed apart: what is measured is the model's own layers, counted as often as the layout has them."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import pytest

from attention.attend import attend
from eval.measure import layers_apart
from eval.measure.timing import Budget, Timing
from refmodel.model import prefill
from refmodel.presets import preset
from refmodel.tree import abstract_params

CONFIG = preset("tiny-moe").with_layout("swa(5)+full")


def test_one_layer_of_each_kind_has_the_shapes_of_the_model(fast_compile):
    params = layers_apart.random_layers(CONFIG, 0, jnp.bfloat16)
    whole = abstract_params(CONFIG, jnp.bfloat16)
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), whole["blocks"])
    chex.assert_trees_all_equal_shapes_and_dtypes(params, {**whole, "blocks": one})


def measured_with(monkeypatch, ends_ms):
    """What is found where the model without layers takes `ends_ms`, and the layers alone 6, 7 .. ms."""

    def timings(programs, budget):
        times = {name: ends_ms if name == "ends" else 5.0 + place for place, name in enumerate(programs)}
        return {name: Timing((times[name],), compile_ms=1.0) for name in programs}

    monkeypatch.setattr(layers_apart, "time_programs", timings)
    params = layers_apart.random_layers(CONFIG, 0, jnp.float32)
    return layers_apart.measure(CONFIG, params, jnp.ones((1, 17), jnp.int32), attend, Budget(0, 1, 1))


def test_the_sum_is_the_count_of_each_layer_times_its_time(monkeypatch, fast_compile):
    found = measured_with(monkeypatch, ends_ms=2.0)
    assert sum(layer.count for layer in found.layers) == CONFIG.n_layers
    expected = 2.0 + sum(layer.count * layer.ms for layer in found.layers)
    assert found.timing.samples_ms == (pytest.approx(expected),)
    assert sorted(layer.ms for layer in found.layers) == [4.0 + place for place in range(len(found.layers))]


def test_a_layer_below_the_noise_takes_nothing_and_the_record_stands(monkeypatch, fast_compile):
    found = measured_with(monkeypatch, ends_ms=6.5)
    assert min(layer.ms for layer in found.layers) == 0.0
    assert found.timing.samples_ms == (6.5 + sum(layer.count * layer.ms for layer in found.layers),)


@pytest.mark.parametrize("where", ["embed", "blocks"])
def test_logits_that_are_no_numbers_are_no_result(where, fast_compile):
    params = layers_apart.random_layers(CONFIG, 0, jnp.float32)
    params = params | {where: jax.tree.map(lambda x: x * jnp.nan, params[where])}
    with pytest.raises(FloatingPointError, match="NaN or Inf in 257 of the 257 logits of the last token"):
        layers_apart.measure(CONFIG, params, jnp.ones((1, 7), jnp.int32), attend, Budget(0, 1, 1))


def test_layers_of_a_stack_that_the_model_lacks_are_drawn(fast_compile):
    config = preset("tiny-dense")
    params = layers_apart.random_layers(config, 0, jnp.float32)
    laid_out = config.with_layout("3*delta(key_heads=2, value_heads=4, key_dim=8, value_dim=12)+full")
    found = layers_apart.measure(laid_out, params, jnp.ones((1, 7), jnp.int32), attend, Budget(0, 1, 1))
    assert [layer.count for layer in found.layers] == [3, 1]
    assert [name.split()[0] for name in found.parts] == ["ends", "delta_dense", "dense"]


def test_a_layer_alone_runs(fast_compile):
    for kind, variant in set(zip(CONFIG.stacks, CONFIG.layout, strict=True)):
        one = CONFIG.one_layer(variant, kind)
        assert (one.stacks, one.layout) == ((kind,), (variant,))
        params = layers_apart.random_layers(one, 0, jnp.float32)
        logits, _ = prefill(one, params, jnp.ones((1, 7), jnp.int32))
        assert jnp.isfinite(logits).all()
