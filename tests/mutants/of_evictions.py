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


MUTANTS = [
    *of(
        "attention/eviction/adakv.py", reference("adakv"),
        ("return CAP * retention.budget", "return retention.budget"),
        ("n_kv_heads * layer_budget)", "layer_budget)"),
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
