"""A function that changes scores: what it is given, and what it has to give."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from attention.checks import described
from attention.pattern import Array

Score = Callable[[jax.Array, Array, Array, jax.Array], jax.Array]
"""score(scores, q_pos, kv_pos, head): float32 scores q·k / sqrt(H), with the positions and the numbers of query heads
that they are of, which broadcast against them; gives scores of the same shape, element by element, -inf for none.
"""


def changed(score: Score, scores: jax.Array, q_pos: Array, kv_pos: Array, head: jax.Array) -> jax.Array:
    """What `score` gives, in float32.  Raises `ValueError` where that has another shape."""
    found = score(scores, q_pos, kv_pos, head)
    if jnp.shape(found) != scores.shape:
        raise ValueError(f"score gave {described(jnp.asarray(found))} for scores of the shape {list(scores.shape)}")
    return found.astype(jnp.float32)
