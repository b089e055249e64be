"""Which token comes next: the best one, or one that is drawn from those that are left in."""

from __future__ import annotations

import math
from numbers import Real
from typing import NamedTuple

import jax
import jax.numpy as jnp

from attention.checks import of_kind, whole

_LEAST, _MOST = (float(bound) for bound in (jnp.finfo(jnp.float32).tiny, jnp.finfo(jnp.float32).max))


class Sampling(NamedTuple):
    """How a token is chosen; what is None does not happen, and programs are compiled for which of them are.

    Attributes:
        temperature: what logits are divided by; None is greedy.
        top_k: so many tokens are left in, the likeliest ones.
        top_p: of those, the fewest whose probability together reaches it.
    """

    temperature: float | jax.Array | None = None
    top_k: int | jax.Array | None = None
    top_p: float | jax.Array | None = None


def sampling(temperature: float, top_k: int | None, top_p: float | None) -> Sampling:
    """The choice that is asked for; temperature 0 is greedy, and a `top_p` of 1 leaves all in.

    Raises `ValueError` for a negative temperature, one that float32 cannot divide by, a `top_k` below 1, a `top_p` that
    is not above 0 and at most 1, and for either of them at temperature 0, where nothing is drawn.
    """
    of_kind("temperature: a number", temperature, Real)
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature must be a finite number of at least 0, got {temperature}")
    if temperature and not _LEAST <= temperature <= _MOST:
        raise ValueError(f"temperature must be 0 or from {_LEAST:.3g} to {_MOST:.3g}, got {temperature}")
    if top_k is not None:
        top_k = min(whole("top_k", top_k), 2**31 - 1)
    if top_p is not None:
        of_kind("top_p: a number", top_p, Real)
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}")
    if temperature == 0 and (top_k, top_p) != (None, None):
        raise ValueError("top_k and top_p say what a token is drawn from: give a temperature above 0")
    return Sampling(temperature or None, top_k, None if top_p == 1 else top_p)


def choose(logits_bv: jax.Array, key: jax.Array, how: Sampling) -> jax.Array:
    """The next token of each row, int32 [B]: argmax of the logits, or drawn from softmax(logits / temperature) over the
    tokens that `left_in` leaves."""
    if how.temperature is None:
        return logits_bv.argmax(-1).astype(jnp.int32)
    logits_bv = (logits_bv - logits_bv.max(-1, keepdims=True)) / how.temperature  # the best one is 0, however cold
    if how.top_k is not None or how.top_p is not None:
        logits_bv = jnp.where(left_in(logits_bv, how.top_k, how.top_p), logits_bv, -jnp.inf)
    return jax.random.categorical(key, logits_bv).astype(jnp.int32)


def left_in(
    logits_bv: jax.Array, top_k: int | jax.Array | None = None, top_p: float | jax.Array | None = None
) -> jax.Array:
    """Which tokens may be drawn, bool [B, V]; of equals the one with the lower id comes first.

    top_k: the k likeliest (Fan et al., 1805.04833).  top_p: the smallest set of likeliest tokens whose probability
    reaches p (nucleus sampling, Holtzman et al., 1904.09751), among those that `top_k` left in and with theirs alone
    summing to 1, as in transformers.

    Examples:
        >>> logits_bv = jnp.log(jnp.array([[0.125, 0.5, 0.25, 0.125]]))
        >>> left_in(logits_bv, top_k=3).tolist(), left_in(logits_bv, top_p=0.6).tolist()
        ([[True, True, True, False]], [[False, True, True, False]])
    """
    order_bv = jnp.argsort(-logits_bv, axis=-1, stable=True)
    vocab_size = logits_bv.shape[-1]
    rank_v = jnp.arange(vocab_size)
    kept_bv = jnp.broadcast_to(rank_v < (vocab_size if top_k is None else top_k), logits_bv.shape)
    if top_p is not None:
        sorted_bv = jnp.take_along_axis(logits_bv, order_bv, axis=-1)
        share_bv = jax.nn.softmax(jnp.where(kept_bv, sorted_bv, -jnp.inf), axis=-1)
        before_bv = jnp.pad(jnp.cumsum(share_bv, axis=-1)[:, :-1], ((0, 0), (1, 0)))
        kept_bv &= (before_bv < top_p) | (rank_v == 0)  # the best one, even for a p that float32 rounds to 0
    return jnp.take_along_axis(kept_bv, jnp.argsort(order_bv, axis=-1), axis=-1)
