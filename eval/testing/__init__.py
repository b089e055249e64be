"""What every attention variant owes, as assertions in the manner of chex, for variants of one's own."""

from eval.testing.assertions import assert_causal, assert_flops_agree, assert_matches_dense
from eval.testing.gradients import assert_gradients_match_dense
from eval.testing.runs_agree import assert_prefixes_agree, assert_steps_agree
from eval.testing.variant_audit import audit

__all__ = [
    "assert_causal", "assert_flops_agree", "assert_gradients_match_dense", "assert_matches_dense",
    "assert_prefixes_agree", "assert_steps_agree", "audit",
]  # fmt: skip
