"""The cases of indexed attention's golden files, and what this project's layers make of them.  No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attention.attend import attend
from attention.block_indexed import BlockIndexed
from attention.cost import ONLY_LAYER, Heads
from attention.key_weights import key_weights
from attention.mixer import MixerInput, StepContext
from attention.pooled_indexed import PooledIndexed
from attention.token_indexed import TokenIndexed
from refmodel.parts import Rope
from refmodel.rope import turned

BATCH, TOKENS, D_MODEL, N_HEADS, N_KV_HEADS, HEAD_DIM = 2, 61, 23, 6, 2, 10
ROTATED, THETA, DIM = 6, 10_000.0, 8
HEADS: Final = 20
"""Of an index that sums over them: of fewer all products may be negative, whose equal scores torch has no order for."""
VARIANTS: Final = {
    "msa": BlockIndexed(block=5, topk=3, dim=DIM),
    "dsa": TokenIndexed(k=13, heads=HEADS, dim=DIM),
    "qsa": PooledIndexed(budget=12, pool=4, heads=HEADS, dim=DIM),
}


class Found(NamedTuple):
    """Whom each query reads, bool [B, N, T, T], and the result [B, T, N, H]."""

    mask: np.ndarray
    out: np.ndarray


def computed(name: str, golden: Mapping[str, np.ndarray]) -> Found:
    """What this project computes of a case, in one step."""
    variant, heads = VARIANTS[name], Heads(N_HEADS, N_KV_HEADS, HEAD_DIM, D_MODEL)
    params = {key: jnp.asarray(value) for key, value in golden.items() if key.startswith("index_")}
    assert {key: value.shape for key, value in params.items()} == variant.params(heads)
    inputs = MixerInput(*(jnp.asarray(golden[key]) for key in "xqkv"), params)
    place = jnp.arange(TOKENS, dtype=jnp.int32)

    def rotate(x_btmh: jax.Array, pos_bt: jax.Array) -> jax.Array:
        return turned(x_btmh, pos_bt, HEAD_DIM, Rope(THETA, share=ROTATED / HEAD_DIM))

    now = StepContext(place[None], jnp.int32(0), attend, ONLY_LAYER, first=True, in_order=True, rotate=rotate)
    state = jax.tree.map(lambda x: x[None], variant.init_state(heads, BATCH, TOKENS, jnp.float32))

    @jax.jit
    def run(inputs: MixerInput) -> tuple[jax.Array, jax.Array]:
        def of_values(v_btkh: jax.Array) -> jax.Array:
            return variant.step(inputs._replace(v_btkh=v_btkh), now, state, jnp.int32(0))[0].out_btnh

        return key_weights(of_values, inputs.v_btkh, place), of_values(inputs.v_btkh)

    weights, out = run(inputs)
    return Found(np.asarray(weights) != 0, np.asarray(out))
