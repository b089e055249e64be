"""Learned sinks: one more logit in each query head's softmax, which has no value (gpt-oss, 2508.10925).

    out[t, n] = sum_s e^score[s] · v[s] / (e^sink[n] + sum_s e^score[s])        over the visible keys s

Of attention without it, and its log-sum-exp, that is out · sigmoid(lse - sink), whoever computed it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attention.attended import Attended, AttendFn


def with_sink_logits(attend: AttendFn, sink_n: Float[Array, " n"]) -> AttendFn:
    """`attend` with the logit `sink_n` of each query head in its softmax, in float32; same signature, same refusals.

    What it gives has the log-sum-exp of all columns, the sink's among them, so that e^(score - lse) stays what a key
    gets; where a query sees nothing that is the sink alone, and its output 0.
    """
    sink_n1 = sink_n.astype(jnp.float32)[:, None]

    def attend_beside_sinks(*operands: Any, need_lse: bool = False, **options: Any) -> Attended:
        attended = attend(*operands, need_lse=True, **options)
        assert attended.lse_bnt is not None
        share_btn = jax.nn.sigmoid(attended.lse_bnt - sink_n1).swapaxes(1, 2)
        out_btnh = (attended.out_btnh.astype(jnp.float32) * share_btn[..., None]).astype(attended.out_btnh.dtype)
        return replace(attended, out_btnh=out_btnh, lse_bnt=jnp.logaddexp(attended.lse_bnt, sink_n1))

    return attend_beside_sinks
