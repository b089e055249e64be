"""Faults in what chooses: routers of tokens and of blocks."""

from __future__ import annotations

from tests.mutants.mutant import of

HERE = "tests/attention/"
ROUTERS, ROUTED, SOFT, BLOCKS = (
    f"{HERE}test_{name}.py" for name in ("routers", "token_routed", "soft_routing", "block_routed")
)

MSA, DSA, QSA = (f"{HERE}test_{name}_indexed.py" for name in ("block", "token", "pooled"))
CARDS = "tests/eval/cost/test_cards.py"
INDEXED = (f"{HERE}test_indexed.py", f"{HERE}test_block_indexed.py")

MUTANTS = [
    *of(
        "attention/routers.py", ROUTERS,
        ("return 2 * tokens * sum(", "return tokens * sum("),
        ("(pos[..., None, :] + xp.arange(routes.units)[:, None])", "(pos[..., None, :] - xp.arange(routes.units)[:, None])"),
        (".reshape(*logits_btr.shape[:2], routes.units, routes.n_routes).swapaxes(1, 2)",
         ".reshape(*logits_btr.shape[:2], routes.n_routes, routes.units).swapaxes(2, 3).swapaxes(1, 2)"),
        ("layer).argmax(-1)", "layer).argmin(-1)"),
        ("xp.asarray([~self.seed & 0xFFFFFFFF]", "xp.asarray([0xFFFFFFFF]"),
        ("words = (xp.asarray(layer), xp", "words = (xp.asarray(0 * layer), xp"),
        ("xp.arange(routes.units)[:, None], pos", "0 * xp.arange(routes.units)[:, None], pos"),
        ("state = _mixed(state ^ word", "state = _mixed(state + word",),
        ("if not 0 < self.threshold < math.inf:", "if not 0 <= self.threshold < math.inf:"),
        ("if not 0 < self.threshold < math.inf:", "if not 0 < self.threshold <= math.inf:"),
        ("norm_bkt.repeat(repeats, 1)", "jnp.tile(norm_bkt, (1, repeats, 1))"),
        ("norm_bmt / self.threshold, routes.n_routes - 1)", "norm_bmt / self.threshold, routes.n_routes)"),
        ("norm_bkt.mean(1, keepdims=True) if", "norm_bkt.max(1, keepdims=True) if"),
        ("last_b1 = layer.q_pos_bt.argmax(1)", "last_b1 = layer.q_pos_bt.argmin(1)"),
        ("slot_b - last_b1[:, 0]", "slot_b"),
        ("x ^ (x >> shift)", "x ^ (x << shift)"),
        ("if not router.reads_tokens:\n        return", "if True:\n        return"),
    ),
    *of(
        "attention/token_routed.py", ROUTED,
        ("keys * heads.n_heads // routes.units", "keys * heads.n_heads"),
        ("return SpanPattern((max(self.spans),)", "return SpanPattern((min(self.spans),)"),
        ("first = (number - unit) % e + 1", "first = (number + unit) % e + 1"),
        ("+ e * growing * (growing - 1) // 2", "+ growing * (growing - 1) // 2"),
        ("return np.minimum(position + 1, variant", "return np.minimum(position, variant"),
        ("is_token = jnp.broadcast_to(q_pos_bt[:, None] >= 0", "is_token = jnp.broadcast_to(q_pos_bt[:, None] >= -1"),
        ('"group": heads.n_kv_heads, "head": heads.n_heads}', '"group": heads.n_heads, "head": heads.n_kv_heads}'),
    ),
    *of(
        "attention/soft_routing.py", SOFT,
        ("gate_bmt.repeat(n_heads // gate_bmt.shape[1], axis=1)", "jnp.tile(gate_bmt, (1, n_heads // gate_bmt.shape[1], 1))"),
        ("(gates_bmte - lax.stop_gradient(gates_bmte))", "(gates_bmte - gates_bmte)"),
        ("full_b1t = q_pos_bt[:, None] + 1", "full_b1t = q_pos_bt[:, None]"),
    ),
    *of(
        "attention/block_routed.py", BLOCKS,
        ("(gates - gates_before) * (self.topk > 1)", "(gates - gates_before)"),
        ("choice.n_blocks(slots) if choice.choices(slots) > 1 else 0", "choice.n_blocks(slots)"),
        ("(2 * keys_t + block_t * (self.topk > 1))", "(2 * keys_t + block_t)"),
        ("Fraction(self.block + 1, 2)", "Fraction(self.block, 2)"),
        ("return None if self.topk > 1 else", "return"),
        ("Growth(self.topk * self.block, self.block,", "Growth(self.block, self.block,"),
        ("Growth(self.topk * self.block, self.block,", "Growth(self.topk * self.block, self.block + 1,"),
        ("* heads.n_heads * ripple)", "* ripple)"),
    ),
    *of(
        "attention/block_counts.py", BLOCKS,
        ("few = min(whole, topk - 1)", "few = min(whole, topk)"),
        ("block * earlier + rest * few)", "block * earlier + rest)"),
        ("whole * (whole - 1) // 2 + rest * whole", "whole * (whole + 1) // 2 + rest * whole"),
        ("return place_t + 1 + block * np", "return place_t + block * np"),
        ("(topk - 1) / np.maximum(block_t, 1)", "topk / np.maximum(block_t, 1)"),
        ("stretch(block_t * block, end_t)", "stretch(block_t * block, end_t + 1)"),
    ),
    *of(
        "attention/block_indexed.py", MSA,
        ("IndexShape(heads.n_kv_heads, self.dim)", "IndexShape(1, self.dim)"),
        ("self.choice.n_blocks(slots) <= self.topk", "self.choice.n_blocks(slots) <= self.topk + 1"),
        ("(blocks - blocks_seen)", "blocks"),
        ("max(0, n - all_seen)", "n"),
        ("tokens * (per_key + per_query + per_score * slots)", "tokens * (per_key + per_score * slots)"),
        ("slots = self.choice.n_blocks(kv_pos_s.size) * self.block", "slots = kv_pos_s.size"),
        ("(block_t >= self.topk)", "(block_t > self.topk)"),
        ("Growth(self.topk * self.block, self.block,", "Growth(self.topk * self.block, self.block + 1,"),
        ("+ self.index_flops(heads).per_score", "* 30"),
    ),
    *of(
        "attention/token_indexed.py", DSA,
        ("return slots <= self.k", "return slots < self.k - 1"),
        ("per_query + 2 * heads.d_model * self.heads", "per_query"),
        ("self.heads**-0.5 * weight_bt1h", "-weight_bt1h"),
        ("k32 -= k32.mean(-1, keepdims=True)", "pass"),
        ('k32 * of["k_norm"] + of["k_bias"]', 'k32 * of["k_norm"]'),
        ("per_score * (all_keys - keys_of_few)", "per_score * all_keys"),
        ("(seen_t > self.k)", "(seen_t >= self.k)"),
        ("return Growth(self.k)", "return Growth(self.k + 1)"),
    ),
    *of(
        "attention/pooled_indexed.py", QSA,
        ("TokenChoice(self.budget + self.pool - 1)", "TokenChoice(self.budget)"),
        ("slots // self.pool <= self.groups", "slots // self.pool <= self.groups + 1"),
        ("self.pool * jnp.arange(mean_bc1d.shape[1])", "jnp.arange(mean_bc1d.shape[1])"),
        ("self.pool, 1, self.dim).mean(2)", "self.pool, 1, self.dim).max(2)"),
        ("(rest + 1) * min(whole, most)", "rest * min(whole, most)"),
        ("(self.groups + 1) * self.pool - 1)  # queries", "(self.groups + 1) * self.pool)  # queries"),
        ("(whole_t > self.groups)", "(whole_t >= self.groups)"),
        ("Growth(settled, self.pool, pair", "Growth(settled, self.pool + 1, pair"),
    ),
    *of(
        "attention/kernels/chosen_tokens.py", DSA,
        ("(chosen_bj >= 0) & (chosen_bj < s) & (chosen_bj <= pos_b[:, None])", "(chosen_bj >= 0) & (chosen_bj < s)"),
        ("(chosen_bj >= 0) & (chosen_bj < s)", "(chosen_bj < s)"),
        ("(chosen_bj >= 0) & (chosen_bj < s)", "(chosen_bj >= 0)"),
        ("kv_pos_b1s + 1, axis=2)", "kv_pos_b1s, axis=2)"),
    ),
    *of(
        "attention/kernels/index_choice.py", (DSA, QSA),
        ("is_seen_bs = jnp.arange(slots) <= pos_b", "is_seen_bs = jnp.arange(slots) < pos_b"),
        ("functools.reduce(operator.add", "functools.reduce(jnp.maximum"),
        ("jnp.arange(n_groups) < end_b[:, None] // size", "jnp.arange(n_groups) <= end_b[:, None] // size"),
        ("jnp.where(behind_btr < end_bt[..., None], behind_btr, -1)", "behind_btr"),
    ),
    *of(
        "attention/kernels/index_choice.py", MSA,
        ("q_pos_bt // block)", "q_pos_bt // block + 1)"),
        (".reshape(b, g, -1, block).max(-1)", ".reshape(b, g, -1, block).mean(-1)"),
        ("jnp.arange(slots // block) < own_b", "jnp.arange(slots // block) <= own_b"),
        ("jnp.moveaxis(best_tbge, (3, 1), (0, 1))", "jnp.moveaxis(best_tbge, (3, 1), (0, 1))[::-1]"),
    ),
    *of(
        "attention/indexed.py", INDEXED,
        ("own_bt1d if now.first else", "own_bt1d if True else"),
        ("layer, now.length)", "layer, 0)"),
        ('normed(q_btgd, inputs.params[f"{NAMES}q_norm_{dim}"])', "q_btgd"),
        ('inputs.params[f"{NAMES}k_norm_{dim}"]), now.q_pos_bt)', 'inputs.params[f"{NAMES}k_norm_{dim}"]), now.q_pos_bt + 1)'),
        ("+ state.index_keys.nbytes", ""),
        ("attended = self.attend(chosen, operands)", "attended = chosen(*operands[1:6])"),
        ("takes_score: ClassVar[bool] = False", "takes_score: ClassVar[bool] = True"),
        ("mean(-1, keepdims=True) + EPS", "mean(-1, keepdims=True) + 0.01"),
    ),
    *of(
        "attention/kernels/block_routed.py", f"{BLOCKS}::test_tiles_of_blocks_are_dense_attention_under_the_mask",
        ("is_earlier = jnp.arange(n_blocks) < own_b", "is_earlier = jnp.arange(n_blocks) <= own_b"),
        ("pattern.block, h).mean(3)", "pattern.block, h).max(3)"),
        ("jnp.concatenate([own_1btn, choose(", "jnp.concatenate([own_1btn - 1, choose("),
    ),
    *of(
        "attention/kernels/block_routed.py", f"{MSA}::test_a_block_behind_the_last_slot_is_none",
        ("(there >= 0) & (there < k_bksh.shape[2] // pattern.block)", "there >= 0"),
    ),
    *of(
        "attention/indexed.py", CARDS,
        ("min(seen, tokens * self.most_read_tokens)", "min(seen, self.most_read_tokens)"),
        ("min(seen, tokens * self.most_read_tokens)", "seen"),
    ),
    *of(
        "attention/pooled_indexed.py", CARDS,
        ("return self.choice.topk\n", "return self.budget_tokens\n"),
    ),
    *of(
        "attention/attend.py", (MSA, DSA),
        ("    has_axes(name, chosen, axes)\n", ""), ("    of_whole_numbers(name, chosen)\n", ""),
        ("if not chosen.size:", "if False:"),
    ),
    *of(
        "attention/kernels/block_routed.py", f"{BLOCKS}::test_maxima_one_after_the_other_are_the_first_of_a_sort",
        ("jnp.where(is_chosen_xc, -jnp.inf, gate_xc), chosen_x", "gate_xc, chosen_x"),
        ("jnp.where(gate_xc.max(-1) == -jnp.inf, -1, block_x)", "block_x"),
        ("jnp.where(gate_xe == -jnp.inf, -1, block_xe)", "block_xe"),
    ),
]  # fmt: skip
