"""What a layer's attention reads, made up: queries at the end of a cache that holds every position."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from attention.cost import Heads
from attention.variant import LayerInput, Variant
from tests.operands import on_device

HEADS = (Heads(6, 2, 5, 11), Heads(3, 3, 7, 13), Heads(5, 1, 8, 3), Heads(9, 3, 4, 17))
heads = st.sampled_from(HEADS)


def layer_input(
    variant: Variant, heads: Heads, tokens: int, start: int = 0, *, batch: int = 2, seed: int = 0, depth: int = 3
) -> LayerInput:
    """Random operands for `tokens` queries after `start` others."""
    rng, slots = np.random.default_rng(seed), start + tokens

    def normal(*shape: int):
        return on_device(rng.normal(size=shape))

    return LayerInput(
        normal(batch, tokens, heads.d_model),
        normal(batch, tokens, heads.n_heads, heads.head_dim),
        normal(batch, slots, heads.n_kv_heads, heads.head_dim),
        normal(batch, slots, heads.n_kv_heads, heads.head_dim),
        on_device(np.arange(start, slots)[None], np.int32),
        on_device(np.arange(slots)[None, None], np.int32),
        {name: normal(*shape) for name, shape in variant.params(heads).items()},
        jnp.int32(depth),
    )


def first_tokens(layer: LayerInput, tokens: int) -> LayerInput:
    """The same layer when it had seen so many tokens, all of them its own."""
    return layer._replace(
        x_btd=layer.x_btd[:, :tokens],
        q_btnh=layer.q_btnh[:, :tokens],
        k_bskh=layer.k_bskh[:, :tokens],
        v_bskh=layer.v_bskh[:, :tokens],
        q_pos_bt=layer.q_pos_bt[:, :tokens],
        kv_pos_bks=layer.kv_pos_bks[..., :tokens],
    )
