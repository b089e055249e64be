"""Faults in evictions: what their policies score."""

from __future__ import annotations

from tests.mutants.mutant import of

HERE = "tests/attention/eviction/"
POLICIES = f"{HERE}test_policies.py"


def reference(policy: str) -> tuple[str, ...]:
    """What compares a policy with its reference, where its scores choose, in chunks and after a prompt."""
    chosen, drawn = (f"{POLICIES}::test_{name}_the_reference" for name in ("where_scores_choose_it_is", "evict_is"))
    after = f"{POLICIES}::test_prompts_of_any_length_then_decode_are_the_reference[EvictAfter-{policy}]"
    return f"{chosen}[{policy}]", f"{drawn}[{policy}]", after


SCORED = f"{POLICIES}::test_scores_are_those_of_the_reference_beside_empty_slots"
CHUNKS = f"{HERE}test_chunks.py"

MUTANTS = [
    *of(
        "attention/eviction/cache.py", (f"{CHUNKS}::test_the_mass_of_a_key_travels_with_it", *reference("snapkv")),
        ("around = end - moved.shape[axis], x.shape[axis] - end", "around = 0, x.shape[axis] - moved.shape[axis]"),
        ("positions=move(cache.positions, 2, -1)", "positions=move(cache.positions, 2)"),
        ("by_slot = jax.tree.map(lambda x: move(x, 2), cache.state.by_slot)", "by_slot = cache.state.by_slot"),
    ),
    *of(
        "attention/eviction/cache.py", reference("adakv"),
        ("jnp.where(index_bkp < 0, cache.positions.shape[-1], index_bkp)", "jnp.maximum(index_bkp, 0)"),
    ),
    *of(
        "attention/eviction/chunks.py", (CHUNKS, *reference("pyramidkv")),
        ("& (q_pos_bt[0] == length + jnp.arange(tokens)).all()", ""),
        ("values = jnp.where(fits, cache.values, jnp.nan)", "values = cache.values"),
        ("out_btnh = jnp.where(fits, attended.out_btnh, jnp.nan)", "out_btnh = attended.out_btnh"),
        ("prompt = jnp.where(length == 0, tokens, cache.prompt)", "prompt = cache.prompt"),
    ),
    *of(
        "attention/eviction/lagkv.py", reference("lagkv"),
        ("jnp.roll(x_bmlkh, -1, axis=1)", "jnp.roll(x_bmlkh, 1, axis=1)"),
        ("sinks + (parts - 1) * lag)", "sinks + parts * lag)"),
        ("both_bkml.argsort().argsort()", "both_bkml.argsort()"),
        ("(keys_bkml + values_bkml) / 2", "keys_bkml"),
        ("jnp.pad(rank_bks, [(0, 0), (0, 0), (sinks,", "jnp.pad(rank_bks, [(0, 0), (0, 0), (0,"),
    ),
    *of(
        "attention/eviction/policy.py", (*reference("snapkv"), *reference("pyramidkv")),
        ("cached.length - cached.retention.recent\n", "cached.length - cached.retention.recent + 1\n"),
        ("(cached.pos_bks < cached.retention.sinks)", "(cached.pos_bks < cached.retention.sinks - 1)"),
        ("jnp.where(jnp.arange(most) < layer_budget, slots_bkp, -1)", "slots_bkp"),
    ),
    *of(
        "attention/eviction/policy.py", "tests/attention/test_from_outside.py",
        ("of_a_pair * pairs // heads.n_heads", "of_a_pair * pairs"),
    ),
    *of(
        "attention/eviction/pyramidkv.py", (*reference("pyramidkv"), POLICIES),
        ("* depth.layer // (depth.n_layers - 1)", "* depth.layer // depth.n_layers"),
        ("min(most, prompt) if isinstance", "max(most, prompt) if isinstance"),
        ("jnp.minimum(most, prompt)", "jnp.asarray(most)"),
        ("least = 2 * retention.budget - most", "least = retention.budget - most"),
    ),
    *of(
        "attention/eviction/recent_queries.py", (*reference("snapkv"), *reference("tova")),
        ("q_btnh[:, -window:]", "q_btnh[:, :window]"),
        ("q_slot_w = cached.end - w + jnp.arange(w)", "q_slot_w = cached.end - w + jnp.arange(w)[::-1]"),
        ("/ head_dim**0.5", ""),
    ),
    *of(
        "attention/eviction/recent_queries.py", f"{POLICIES}::test_scores_ask_for_a_product_of_each_pair_that_sees_each_other",
        ("(w * keys - w * (w - 1) // 2)", "(w * keys - w * (w + 1) // 2)"),
        ("w = min(self.window(retention), keys)", "w = self.window(retention)"),
    ),
    *of(
        "attention/eviction/snapkv.py", reference("snapkv"),
        (".mean((2, 3))", ".max((2, 3))"),
        ("jnp.where(cached.slot_s < cached.end - self.window(cached.retention), mean_bks, 0)", "mean_bks"),
        ("(POOL // 2, POOL // 2)", "(0, POOL - 1)"),
    ),
    *of(
        "attention/eviction/adakv.py", reference("adakv"),
        ("return CAP * retention.budget", "return retention.budget"),
        ("n_kv_heads * layer_budget)", "layer_budget)"),
    ),
    *of(
        "attention/eviction/adakv.py", f"{POLICIES}::test_every_head_of_adakv_keeps_a_fifth_of_the_budget",
        ("FLOOR = 0.2", "FLOOR = 0.15"),
        ("least = max(1, int(", "least = max(0, int("),
    ),
    *of(
        "attention/eviction/expected_attention.py", SCORED,
        ("(queries.pos_t >= cached.retention.sinks)", "(queries.pos_t >= 0)"),
        ("cached.valid_bks & (cached.pos_bks >= cached.retention.sinks)", "cached.valid_bks"),
        ("cached.valid_bks & (cached.pos_bks >= cached.retention.sinks)", "cached.pos_bks >= -1"),
        ("/ (2 * head_dim)", "/ head_dim"),
        ("FUTURE = 512", "FUTURE = 511"),
    ),
    *of(
        "attention/eviction/keydiff.py", SCORED,
        (", where=valid_bsk[..., None])", ")"),
        ("unit_bskh = k_bskh / jnp.maximum(jnp.linalg.norm(k_bskh, axis=-1, keepdims=True), 1e-12)", "unit_bskh = k_bskh"),
    ),
    *of(
        "attention/eviction/expected_attention.py", reference("expected_attention"),
        ("cos_th[:, None], -sin_th[:, None])", "cos_th[:, None], sin_th[:, None])"),
        ("n_old = jnp.where(queries.opens_chunk, 0, old.n_queries)", "n_old = old.n_queries"),
        ("jnp.where(queries.opens_chunk, 0, old.scatter_bnhh) +", "old.scatter_bnhh +"),
        ("_rotation(cached.length + jnp", "_rotation(jnp"),
        (".mean(2) * value_norm_bks", ".mean(2)"),
    ),
    *of(
        "attention/eviction/h2o.py", (*reference("h2o"), f"{POLICIES}::test_as_many_new_keys_stay_as_was_published"),
        ("by_slot=state.by_slot + mass(", "by_slot=mass("),
        ("return budget // 2", "return budget // 3"),
        ("(jnp.arange(s) <= slot_t[:, None])", "(jnp.arange(s) < slot_t[:, None])"),
        ("/ q_btnh.shape[-1] ** 0.5\n", "/ q_btnh.shape[-1]\n"),
        ("mass_bks + p_bkgts.sum((2, 3))", "mass_bks + p_bkgts.max((2, 3))"),
    ),
    *of(
        "attention/eviction/keydiff.py", reference("keydiff"),
        ("return -product(", "return product("),
    ),
    *of(
        "attention/eviction/knorm.py", POLICIES,
        ("return -_rank(", "return _rank("),
        ("ascending_bks[..., :-1] * (1 + TIE)", "ascending_bks[..., :-1]"),
    ),
]  # fmt: skip
