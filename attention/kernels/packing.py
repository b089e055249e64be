"""Packing: queries in an order in which those that look equally far stand together, so that a tile shares a span.

Masks read positions, so nothing else changes when queries are reordered.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def packing_order(q_pos_bt: jax.Array, span_bmt: jax.Array) -> jax.Array:
    """Which query stands at each place: by span, then by position; [B or 1, M, T]."""
    span_bmt, q_pos_bmt = jnp.broadcast_arrays(span_bmt, q_pos_bt[:, None])
    return jnp.lexsort((q_pos_bmt, span_bmt), axis=-1).astype(jnp.int32)


def inverse(order: jax.Array) -> jax.Array:
    """Where each query ended up: `take(take(x, order), inverse(order))` is x, along the last axis."""
    places = jnp.broadcast_to(jnp.arange(order.shape[-1], dtype=order.dtype), order.shape)
    return jnp.put_along_axis(jnp.zeros_like(order), order, places, axis=-1, inplace=False)
