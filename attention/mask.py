"""A span pattern's whole mask, for oracles and small pictures."""

from __future__ import annotations

from jaxtyping import Bool, Int

from attention.pattern import OnEither, SpanPattern, Spans, head_spans, visible


def dense_mask(
    pattern: SpanPattern | Spans,
    q_pos_bt: Int[OnEither, "#b t"],
    kv_pos_bks: Int[OnEither, "#b k s"],
    n_heads: int,
) -> Bool[OnEither, "b {n_heads} t s"]:
    """The whole mask [B, N, T, S]: for oracles and small pictures, never for a long prompt."""
    span_bnt, sink_n = head_spans(pattern, n_heads)
    n_kv_heads = kv_pos_bks.shape[1]
    kv_pos_bns = kv_pos_bks.repeat(n_heads // n_kv_heads, axis=1)
    return visible(
        q_pos_bt[:, None, :, None], kv_pos_bns[:, :, None, :], span_bnt[..., None], sink_n.reshape(n_heads, 1, 1)
    )
