"""What every attention variant owes, as assertions in the manner of chex, for variants of one's own."""

from eval.testing.assertions import assert_causal, assert_flops_agree, assert_matches_dense

__all__ = ["assert_causal", "assert_flops_agree", "assert_matches_dense"]
