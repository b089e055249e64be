"""Who saw whom, read off a run: values are one-hot, so that a query's result names the keys that it read.

It shows any variant as it is executed, keys that were evicted and blocks that were chosen included.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from attention.variant import Variant
from eval.layer_kernel import layer_kernel
from refmodel.config import ModelConfig

MOST_TOKENS = 512
"""A picture, not a plot: the run holds a value of N numbers for each key."""


def seen_keys(variant: Variant, tokens: int, *, n_heads: int = 1, n_kv_heads: int = 1, seed: int = 0) -> np.ndarray:
    """Whether the query at t in head n read the key at j, for random queries and keys: bool [N, T, T].

    Raises:
        ValueError: more than `MOST_TOKENS` tokens, or heads that do not fit the variant.
    """
    if not 1 <= tokens <= MOST_TOKENS:
        raise ValueError(f"a picture has 1 to {MOST_TOKENS} tokens, got {tokens}")
    config = ModelConfig(
        "picture",
        1,
        2 * tokens,
        n_heads,
        n_kv_heads,
        head_dim=tokens + tokens % 2,
        vocab_size=1,
        d_ff=1,
        layout=(variant,),
    )
    kernel, (inputs, params) = layer_kernel(config, variant, tokens, jnp.float32, seed=seed)
    one_hot = jnp.eye(tokens, config.head_dim)[None, :, None].repeat(n_kv_heads, axis=2)
    queries = 0.1 * inputs.q_btnh  # flat enough that no key that is seen gets a weight of zero
    out_btnh = kernel(inputs._replace(q_btnh=queries, v_btkh=one_hot), params)
    return np.asarray(out_btnh[0, ..., :tokens].swapaxes(0, 1)) > 0
