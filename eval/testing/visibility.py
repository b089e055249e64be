"""Who saw whom, read off a run: attention is linear in the values, and its slope in a key's value is the key's weight.

It shows any variant as it is executed, keys that were evicted and blocks that were chosen included.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from attention.mixer import Mixer
from eval.measure.layer_program import Layer, layer_kernel
from refmodel.attend_layer import Projected
from refmodel.decoder import decoder

MOST_TOKENS = 512
"""A picture, not a plot: the run holds N numbers for each key."""


def seen_keys(variant: Mixer, tokens: int, *, n_heads: int = 1, n_kv_heads: int = 1, seed: int = 0) -> np.ndarray:
    """Whether the query at t in head n read the key at j, for random queries and keys: bool [N, T, T].

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
    if not 1 <= tokens <= MOST_TOKENS:
        raise ValueError(f"a picture has 1 to {MOST_TOKENS} tokens, got {tokens}")
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
    return key_weights(kernel, flat, params)[0] != 0


def key_weights(kernel: Layer, inputs: Projected, params: dict[str, jax.Array]) -> np.ndarray:
    """The weight of each key in each query's result, [B, N, T, T]: of a kernel that `layer_kernel` made.

    What the kernel chooses by the values stays as it is.
    """
    b, s, k, h = inputs.v_btkh.shape
    turns = -(-s // h)  # the values of h keys at a time point along the h axes
    one_hot_rsh = jnp.eye(turns * h, dtype=inputs.v_btkh.dtype)[:s].reshape(s, turns, h).swapaxes(0, 1)

    def slope(tangent_sh: jax.Array, inputs: Projected, params: dict[str, jax.Array]) -> jax.Array:
        tangent = jnp.broadcast_to(tangent_sh[None, :, None], (b, s, k, h))

        def of_values(v_btkh: jax.Array) -> jax.Array:
            return kernel(inputs._replace(v_btkh=v_btkh), params).out_btnh

        return jax.jvp(of_values, (inputs.v_btkh,), (tangent,))[1]

    slope_rbtnh = jax.jit(jax.vmap(slope, in_axes=(0, None, None)))(one_hot_rsh, inputs, params)
    weight_bntrh = jnp.moveaxis(slope_rbtnh, (3, 0), (1, 3))
    return np.asarray(weight_bntrh.reshape(*weight_bntrh.shape[:3], turns * h)[..., :s])
