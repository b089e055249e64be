"""Who saw whom, read off a run.

It shows any variant as it is executed, keys that were evicted and blocks that were chosen included.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from attention.checks import MOST_SEED, of_kind, whole
from attention.key_weights import key_weights
from attention.layout import parse_variant
from attention.mixer import Mixer
from eval.measure.layer_program import Layer, layer_kernel
from refmodel.attend_layer import Projected
from refmodel.decoder import decoder

MOST_TOKENS = 512
"""A picture, not a plot: the run holds N numbers for each key."""


def seen_keys(variant: Mixer | str, tokens: int, *, n_heads: int = 1, n_kv_heads: int = 1, seed: int = 0) -> np.ndarray:
    """Whether the query at t in head n read the key at j, for random queries and keys: bool [N, T, T].

    Of one variant or its spelling, as the first of one layer; those of a layout are `attention.parse_layout(layout,
    n_layers)`.  Where layers choose by their depth, `refmodel.observe.attention_weights` tells of each in a model.

    Raises:
        ValueError: more than `MOST_TOKENS` tokens, or heads that do not fit the variant.

    Examples:
        >>> import attention, eval
        >>> eval.seen_keys(attention.make("swa", window=2), 4)[0].astype(int)
        array([[1, 0, 0, 0],
               [1, 1, 0, 0],
               [0, 1, 1, 0],
               [0, 0, 1, 1]])
    """
    if isinstance(variant, str):
        variant = parse_variant(variant)
    of_kind("a variant, such as attention.make(...),", variant, Mixer)
    whole("tokens", tokens, 0)
    whole("seed", seed, 0, MOST_SEED)
    if not 1 <= tokens <= MOST_TOKENS:
        raise ValueError(f"a picture has 1 to {MOST_TOKENS} tokens, got {tokens}")
    return read_keys(variant, tokens, n_heads, n_kv_heads, seed)


def read_keys(variant: Mixer, tokens: int, n_heads: int, n_kv_heads: int, seed: int) -> np.ndarray:
    """`seen_keys` of a prompt of any length: the run holds N·T² numbers."""
    config = decoder(
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
    flat = inputs._replace(q_btnh=0.1 * inputs.q_btnh)  # so that no key that is seen gets a weight of zero
    return layer_weights(kernel, flat, params)[0] != 0


def layer_weights(kernel: Layer, inputs: Projected, params: dict[str, jax.Array]) -> np.ndarray:
    """The weight of each key in each query's result, [B, N, T, T]: of a kernel that `layer_kernel` made."""

    @jax.jit
    def weights(inputs: Projected, params: dict[str, jax.Array]) -> jax.Array:
        def of_values(v_btkh: jax.Array) -> jax.Array:
            return kernel(inputs._replace(v_btkh=v_btkh), params).out_btnh

        return key_weights(of_values, inputs.v_btkh, jnp.arange(inputs.q_btnh.shape[1]))

    return np.asarray(weights(inputs, params))
