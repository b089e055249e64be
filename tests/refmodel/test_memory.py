"""What the compiler plans for a long prompt: memory grows with N, never with N x N."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from refmodel.model import abstract_params, prefill
from refmodel.presets import preset


def temp_bytes(layout: str, tokens: int) -> int:
    config = preset("tiny-dense").with_layout(layout)
    shapes = abstract_params(config), jax.ShapeDtypeStruct((1, tokens), jnp.int32)
    compiled = jax.jit(lambda params, tokens: prefill(config, params, tokens)).lower(*shapes).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("layout", ["swa(1024)", "swa(1024,sinks=4)", "full"])
def test_prefill_memory_is_linear_in_the_prompt(layout):
    half, whole = (temp_bytes(layout, tokens) for tokens in (16_384, 32_768))
    assert whole < 2.05 * half
    assert whole < 32_768 * 32_768 / 8  # less than one bit per pair
