"""What a layer will run is known before anything is compiled or run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from attention.kernels.target import compiling_for
from attention.layout import parse_variant
from eval.measure.device_work import layer_work
from eval.measure.layer_impls import layer_impls
from refmodel.presets import preset

CONFIG, F32 = preset("tiny-dense"), jnp.dtype("float32")


@pytest.mark.parametrize(
    "text", ["swa(29)", "routed(5|full, router=periodic)", "moba(29)", "evict(keydiff, budget=64, chunk=64)"]
)
@pytest.mark.parametrize("impl", ["auto", "dense"])
def test_it_is_what_then_runs(text, impl, fast_compile):
    tokens = 331
    said = layer_impls(CONFIG, parse_variant(text), tokens, F32, impl)
    assert said and said == layer_work(CONFIG, parse_variant(text), tokens, F32, impl).impls


def test_for_a_card_that_is_not_here_it_is_what_that_card_runs():
    config = preset("qwen3-30b-a3b")
    expected = {
        "full": "mosaic", "routed(512|full, router=periodic)": "mosaic", "moba(512)": "pallas",
        "evict(keydiff, chunk=4096)": "mosaic", "evict_after(adakv)": "mosaic",
        "evict(adakv, chunk=4096)": "pallas", "evict(pyramidkv, chunk=4096)": "pallas",  # gaps among the slots
    }  # fmt: skip
    with compiling_for("sm_90"):
        found = {text: layer_impls(config, parse_variant(text), 16_381, jnp.dtype("bfloat16")) for text in expected}
    assert found == {text: (impl,) for text, impl in expected.items()}
    assert layer_impls(config, parse_variant("full"), 16_381, jnp.dtype("bfloat16")) == ("blockwise",)  # here


def test_nothing_is_compiled_for_it():
    heard = []

    def listen(event, *_, **__):
        heard.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for text, impl in (("swa(37)", "blockwise"), ("evict(snapkv, budget=64, chunk=64)", "dense")):
            assert layer_impls(CONFIG, parse_variant(text), 4099, F32) == (impl,)
        assert not [event for event in heard if "backend_compile" in event]
        jnp.arange(4111).block_until_ready()
        assert [event for event in heard if "backend_compile" in event]  # the listener does hear of it
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_what_cannot_run_it_is_refused():
    with pytest.raises(ValueError, match="pallas runs on GPUs"):
        layer_impls(CONFIG, parse_variant("swa(29)"), 331, F32, "pallas")
