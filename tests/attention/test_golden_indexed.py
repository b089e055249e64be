"""Indexed attention against what transformers computed: the same keys chosen, the same result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.golden.indexed_cases import TOKENS, VARIANTS, computed

GOLDEN = Path(__file__).parents[1] / "golden" / "indexed"
pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_keys_are_chosen_and_the_result_is_the_same(name):
    golden = dict(np.load(GOLDEN / f"{name}.npz"))
    found = computed(name, golden)
    np.testing.assert_array_equal(found.mask, golden["mask"])
    np.testing.assert_allclose(found.out, golden["out"], rtol=0, atol=2e-5)
    causal = np.tri(TOKENS, dtype=bool)
    assert (golden["mask"] <= causal).all() and golden["mask"].sum() < golden["mask"].shape[1] * causal.sum()
