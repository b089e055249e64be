"""Faults in who sees whom, and in how that is computed and counted."""

from __future__ import annotations

from tests.mutants.mutant import of

HERE = "tests/attention/"
PATTERN, KERNELS, CACHE = f"{HERE}test_pattern.py", f"{HERE}test_kernels.py", f"{HERE}test_kv_cache.py"
ORACLE = (
    f"{KERNELS}::test_padding_among_the_queries_of_an_unmasked_tile_puts_out_nothing",
    f"{HERE}test_drawn_cases.py", f"{KERNELS}::test_blockwise_is_the_oracle_in_float32",
)  # fmt: skip
COUNTED = f"{KERNELS}::test_counted_pairs_are_those_that_ran"
POLICIES = f"{HERE}eviction/test_policies.py::test_evict_is_the_reference"

MUTANTS = [
    *of(
        "attention/kernels/delta_rule.py", f"{HERE}test_delta_rule.py::test_chunks_are_the_recurrence",
        ("jnp.tril(beta_bngi[..., None] * kk_bngij * decay_bngij, -1)",
         "jnp.tril(beta_bngi[..., None] * kk_bngij * decay_bngij, -2)"),
        ("(v_bngiv - read_bngiv)", "(v_bngiv + read_bngiv)"),
        ("to_end_bngi1 * u_bngiv", "u_bngiv"),
    ),
    *of(
        "attention/gated_delta.py", f"{HERE}test_gated_delta.py",
        ("count_b[:, None] + jnp.arange(self.conv - 1)", "jnp.arange(self.conv - 1) + x_btc.shape[1]"),
        ("jnp.where(real_bt[..., None], beta_btm, 0)", "beta_btm"),
        ("stable=True", "stable=False, descending=True"),
    ),
    *of(
        "attention/pattern.py", PATTERN,
        ("(q_pos - kv_pos < span))", "(q_pos - kv_pos <= span))"),
        ("((kv_pos < sink) |", "((kv_pos <= sink) |"),
        ("sink_m.repeat(n_heads // sink_m.size)", "np.tile(sink_m, n_heads // sink_m.size)"),
        ("span_bmt.repeat(n_heads // span_bmt.shape[1], axis=1)",
         "np.tile(span_bmt, (1, n_heads // span_bmt.shape[1], 1))"),
        ("max(pattern.span) - 1 + max(pattern.sink)\n", "max(pattern.span) - 1 + min(pattern.sink)\n"),
        ("every = ~kv_empty & (q.low <= q.high) & (kv_high <= q.low) & ((kv_high < sink)",
         "every = ~kv_empty & (q.low <= q.high) & (kv_high <= q.low) & ((kv_high <= sink)"),
        ("(q.left_high < beyond_sinks))", "(q.left_high <= beyond_sinks))"),
    ),
    *of(
        "attention/sink_logits.py", f"{HERE}test_sink_logits.py",
        ("jax.nn.sigmoid(attended.lse_bnt - sink_n1)", "jax.nn.sigmoid(attended.lse_bnt + sink_n1)"),
        ("lse_bnt=jnp.logaddexp(attended.lse_bnt, sink_n1)", "lse_bnt=attended.lse_bnt"),
    ),
    *of(
        "attention/kernels/walk.py", ORACLE,
        ("out = jnp.where(q_pos_t[:, None] >= 0, out, 0).astype", "out = out.astype"),
    ),
    *of(
        "attention/kernels/walk.py", f"{HERE}test_scores.py",
        ("head_kg = first_head + jnp.arange", "head_kg = jnp.arange"),
        ("scores_bkgts, q_pos_t[:, None], pos_s, head_kg)", "scores_bkgts, pos_s, q_pos_t[:, None], head_kg)"),
        ("scale = h**-0.5 if score is None else 1.0", "scale = h**-0.5"),
    ),
    *of(
        "attention/kernels/blockwise_backward.py", f"{HERE}test_scores.py",
        ("jnp.where(mask, to_products(d_scores)[0], 0)", "to_products(d_scores)[0]"),
        ("jnp.where(sees_btkg, lse_btkg, 0)", "lse_btkg"),
    ),
    *of(
        "attention/kernels/dense.py", f"{HERE}test_scores.py",
        ("mask_bkgts &= (scores_bnts > -jnp.inf)", "mask_bkgts |= (scores_bnts > -jnp.inf)"),
    ),
    *of(
        "attention/key_weights.py", f"{HERE}test_key_weights.py",
        ("jnp.arange(n) % group == turn % group", "jnp.arange(n) // group == turn % group"),
        ("lane_rh[turn // group]", "lane_rh[turn % lots]"),
    ),
    *of(
        "attention/kernels/blockwise_backward.py", f"{HERE}test_blockwise_backward.py",
        (".sum(-1) - d_lse_btkg", ".sum(-1)"),
        ("jnp.where(sees_btkg, delta_btkg, 0)", "delta_btkg"),
        ("jnp.exp(jnp.where(mask, scores - lse[..., None], -jnp.inf))", "jnp.exp(scores - lse[..., None])"),
        ("(scale * d_scores).astype", "d_scores.astype"),
        ("before + more_zsh, start", "more_zsh, start"),
        ("dq + more_dq", "more_dq"),
    ),
    *of(
        "attention/kv_cache.py", CACHE,
        ("UNBOUNDED, old_bks).argmin(-1)", "UNBOUNDED, old_bks).argmax(-1)"),
        ("jnp.where(stays_bk, slot_bk, old_bks.shape[-1])", "slot_bk"),
        ("_write_token(stack, layer, new, slot_bk[:, 0], attended", "_write_token(stack, layer, new, slot_bk[:1, 0], attended"),
        ("_write_token(stack, layer, new, jnp.asarray(slot, jnp.int32)", "_write_token(stack, layer, new, jnp.asarray(slot - 1, jnp.int32)"),
    ),
    *of(
        "attention/kernels/pallas_decode.py", f"{HERE}test_pallas_decode.py",
        ("jnp.where(is_row, left, UNBOUNDED).min(0)", "jnp.where(is_row, left, -UNBOUNDED).max(0)"),
        ("end = jnp.where(seen_tile == 1, tile + 1, 0)", "end = jnp.where(seen_tile == 1, tile, 0)"),
    ),
    *of(
        "attention/kernels/pallas_merge.py", f"{HERE}test_pallas_decode.py",
        ("out * weights[:, None]).sum(0)", "out * weights[:, None]).max(0)"),
        ("summed += own_weight * own_value", "summed += own_value"),
        ("total = weights.sum(0) + own_weight", "total = weights.sum(0)"),
        ("jnp.where(pos >= 0, (q * k)", "jnp.where(pos >= -1, (q * k)"),
    ),
    *of(
        "attention/kernels/pallas_write.py", f"{HERE}test_pallas_write.py",
        ("slot_ref[jnp.minimum(row, rows[1] - 1)]", "slot_ref[0]"),
        ("@pl.when(slot < slots)", "@pl.when(slot <= slots)"),
        ("out_pos[layer_ref[0], pos_row, 0, slot]", "out_pos[layer_ref[0], 0, 0, slot]"),
    ),
    *of(
        "attention/stacked.py", f"{HERE}test_pallas_decode.py",
        ("return 1 if self.ndim == 4 else 2", "return 1"),
        ("shape[axis] + self.own.shape[axis]", "shape[axis]"),
    ),
    *of(
        "attention/kernels/first_best.py", f"{HERE}eviction/test_policies.py::test_zeros_of_both_signs_are_equal_and_the_older_key_stays",
        ("jnp.where(x == 0, jnp.zeros_like(x), x)", "x"),
    ),
    *of(
        "attention/kernels/cover.py", (COUNTED, "tests/eval/measure/test_walk_visits.py"),
        ("q.left_low.min(0), side=\"right\")", "q.left_low.max(0), side=\"right\")"),
        ("kinds.max(0) == Tile.SKIP", "kinds.min(0) == Tile.SKIP"),
    ),
]  # fmt: skip
