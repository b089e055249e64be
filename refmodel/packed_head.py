"""Logits by a packed head, which is never in memory as a whole but packed."""

from __future__ import annotations

from typing import Final

import jax
import jax.numpy as jnp
from jax import lax

from attention.kernels.target import current_target, is_gpu
from refmodel.kernels.projection import MOST_ROWS, project
from refmodel.packed.packed import Packed

BLOCK_ROWS: Final = 8192
"""Rows of the head, each of a token of the vocabulary, that are expanded at a time."""


def packed_logits(hidden: jax.Array, head: Packed) -> jax.Array:
    """hidden [..., D] times a head [V, D]: float32 [..., V], summed in float32.

    Few rows on a GPU are its kernel's, which reads the head as it lies; others meet a block of it at a time.
    """
    rows = hidden.size // hidden.shape[-1]
    if rows <= MOST_ROWS and is_gpu(current_target()):
        (logits,) = project(hidden.reshape(1, rows, -1), (head.stacked,), jnp.int32(0), exact=True)
        return logits.reshape(*hidden.shape[:-1], -1)
    vocab = head.shape[0]
    block = min(BLOCK_ROWS, vocab)

    def of_block(i: jax.Array) -> jax.Array:
        token = jnp.minimum(i * block + jnp.arange(block), vocab - 1)
        return jnp.einsum("...d,vd->...v", hidden, head.take(token), preferred_element_type=jnp.float32)

    logits = lax.map(of_block, jnp.arange(-(-vocab // block)))
    return jnp.moveaxis(logits, 0, -2).reshape(*hidden.shape[:-1], -1)[..., :vocab]
