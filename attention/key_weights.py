"""What a query read of each key, of attention as it runs: the output is linear in the values, and its slope is that.

Weights are those after whatever the attention does with its scores: windows, choices of blocks, evictions and learned
sinks (whose share is missing in the sum) are in them.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


def key_weights(
    attend: Callable[[jax.Array], jax.Array], v_bskh: Float[Array, "b s k h"], query_q: Int[Array, " q"]
) -> Float[Array, "b n q s"]:
    """The weight of each key in the result of the queries number `query_q`.

    Args:
        attend: [B, S, K, H] values to [B, T, N, H]; what it chooses by the values stays as it is.
        v_bskh: the values by which it chooses.

    The way back from out_tnh = sum_s w_nts·v_skh gives sum_tn w_nts·d_tnh: where each lane h of `d` has a query of its
    own and each group of heads one head, the sums have one member.  N/K·Q/H turns.
    """
    out_btnh, back = jax.vjp(attend, v_bskh)
    (b, t, n, h), (s, k) = out_btnh.shape, v_bskh.shape[1:3]
    lots, group = -(-len(query_q) // h), n // k
    lane_rh = jnp.pad(query_q, (0, lots * h - len(query_q)), constant_values=t).reshape(lots, h)  # t: no query

    def of_turn(turn: jax.Array) -> jax.Array:
        lane_h, head_n = lane_rh[turn // group], jnp.arange(n) % group == turn % group
        d_tnh = (jnp.arange(t)[:, None] == lane_h)[:, None] & head_n[:, None]
        (d_bskh,) = back(jnp.broadcast_to(d_tnh, out_btnh.shape).astype(out_btnh.dtype))
        return d_bskh

    weight_rgbskh = lax.map(of_turn, jnp.arange(lots * group)).reshape(lots, group, b, s, k, h)
    weight_bkgrhs = weight_rgbskh.transpose(2, 4, 1, 0, 5, 3)
    return weight_bkgrhs.reshape(b, n, lots * h, s)[:, :, : len(query_q)]
