"""Weights of keys, read off attention that was run, against a softmax in NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attend import attend
from attention.key_weights import key_weights
from attention.mask import dense_mask
from attention.pattern import SpanPattern

pytestmark = pytest.mark.usefixtures("fast_compile")

B, T, S, N, K, H = 2, 5, 13, 6, 2, 3


@pytest.mark.parametrize("pattern", [SpanPattern(), SpanPattern((3, 5), (0, 2))], ids=["full", "spans"])
@pytest.mark.parametrize("queries", [[4], [0, 3, 3, 1], [0, 1, 2, 3, 4]], ids=len)
def test_weights_are_the_softmax_s(pattern: SpanPattern, queries: list[int]) -> None:
    q_btnh, k_bskh, v_bskh = (
        jax.random.normal(jax.random.key(i), shape)
        for i, shape in enumerate([(B, T, N, H), (B, S, K, H), (B, S, K, H)])
    )
    q_pos_bt, kv_pos_bks = jnp.arange(8, 8 + T)[None], jnp.arange(S)[None, None]

    def of_values(v_bskh: jax.Array) -> jax.Array:
        return attend(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern).out_btnh

    scores_bnts = np.einsum("btnh,bsnh->bnts", q_btnh, np.asarray(k_bskh).repeat(N // K, axis=2)) / H**0.5
    weights_bnts = np.exp(scores_bnts) * np.asarray(dense_mask(pattern, q_pos_bt, kv_pos_bks, N))
    expected = (weights_bnts / weights_bnts.sum(-1, keepdims=True))[:, :, queries]
    found = key_weights(of_values, v_bskh, jnp.asarray(queries))
    np.testing.assert_allclose(found, expected, atol=1e-6)
