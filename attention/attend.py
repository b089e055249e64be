"""The one entry to attention: the same call serves one-shot prefill, chunked prefill and decode."""

from __future__ import annotations

from typing import Literal, get_args

import jax

from attention.kernels.blockwise import attend_blockwise
from attention.kernels.dense import attend_dense
from attention.pattern import SpanPattern, Spans

Impl = Literal["auto", "dense", "blockwise"]

DENSE_SCORES_LIMIT = 2**16
"""`auto` materialises the scores of a head only up to this many; decode steps and toy prompts stay below."""


def resolve_impl(impl: str, q_tokens: int, kv_tokens: int) -> str:
    """The implementation that will run: `auto` decided by shape alone, a named one as it is."""
    if impl not in get_args(Impl):
        raise ValueError(f"no attention implementation {impl!r}; accepted: {', '.join(get_args(Impl))}")
    if impl != "auto":
        return impl
    return "dense" if q_tokens * kv_tokens <= DENSE_SCORES_LIMIT else "blockwise"


def attend(
    q_btnh: jax.Array,
    k_bskh: jax.Array,
    v_bskh: jax.Array,
    q_pos_bt: jax.Array,
    kv_pos_bks: jax.Array,
    pattern: SpanPattern | Spans,
    *,
    impl: str = "auto",
    return_lse: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """Attention of T queries to S slots under `pattern`: [B, T, N, H].

    Args:
        q_btnh: queries, rotary positions applied.
        k_bskh, v_bskh: keys and values; query head n reads key-value head n // (N / K).
        q_pos_bt: position of each query, -1 for padding, whose output is 0.  A leading 1 means shared by the batch.
        kv_pos_bks: position of each slot, -1 for an empty one.  Leading 1s mean shared by the batch or by the heads.
        impl: `dense`, `blockwise`, or `auto` (see `resolve_impl`).  Only `dense` has a reverse-mode derivative: the
            loops of `blockwise` are as long as the positions say.
        pattern: static spans, or `Spans` that are data; the blockwise path packs the latter's queries by span.
        return_lse: also return the log of each softmax's denominator, float32 [B, N, T], -inf where nothing is seen:
            what merges parts of a row, and turns a score into a probability.

    Raises:
        ValueError: shapes that do not belong together, or an unknown `impl`.
    """
    (b, t, n, h), (s, k) = q_btnh.shape, k_bskh.shape[1:3]
    expected = {"k": (b, s, k, h), "v": (b, s, k, h)}
    for name, array in (("k", k_bskh), ("v", v_bskh)):
        if array.shape != expected[name]:
            raise ValueError(
                f"{name} must be [B, S, K, H] = {expected[name]} to fit q {q_btnh.shape}, got {array.shape}"
            )
    if n % k:
        raise ValueError(f"{n} query heads are not a multiple of {k} key-value heads")
    if q_pos_bt.shape not in ((b, t), (1, t)):
        raise ValueError(f"q_pos must be [B or 1, T] = {(b, t)}, got {q_pos_bt.shape}")
    if kv_pos_bks.shape not in {(i, j, s) for i in (b, 1) for j in (k, 1)}:
        raise ValueError(f"kv_pos must be [B or 1, K or 1, S] = {(b, k, s)}, got {kv_pos_bks.shape}")
    if isinstance(pattern, Spans) and (
        pattern.span_bmt.shape not in {(i, m, j) for i in (b, 1) for m in (1, k, n) for j in (t, 1)}
        or pattern.sink_m.shape not in {(m,) for m in (1, k, n)}
    ):
        raise ValueError(
            f"spans must be [B or 1, 1 or K or N, T or 1] = {(b, (k, n), t)} with sinks [1 or K or N], got "
            f"{pattern.span_bmt.shape} and {pattern.sink_m.shape}"
        )
    run = attend_dense if resolve_impl(impl, t, s) == "dense" else attend_blockwise
    out_btnh, lse_bnt, *_ = run(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern)
    return (out_btnh, lse_bnt) if return_lse else out_btnh
