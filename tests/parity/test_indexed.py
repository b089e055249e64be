"""Indexed attention against the classes of transformers at hand, with other weights than the golden files."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers.models.qwen4_exp")

from tests.golden.indexed_cases import VARIANTS, computed
from tests.golden.make_indexed import case

pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.mark.parametrize("seed", [101, 103])
@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_keys_are_chosen_and_the_result_is_the_same(name, seed):
    golden = case(name, seed)
    found = computed(name, golden)
    np.testing.assert_array_equal(found.mask, golden["mask"])
    np.testing.assert_allclose(found.out, golden["out"], rtol=0, atol=2e-5)
