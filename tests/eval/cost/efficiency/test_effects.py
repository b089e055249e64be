"""Covariances of shared effects."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eval.cost.efficiency.effects import Effect, codes, covariance

FEATURES = {"model": ["a", "b", "a"], "build": [1, 1, 2], "log2": [0.0, 2.0, -1.0]}


def test_the_formula_by_hand() -> None:
    effects = (Effect(2.0), Effect(3.0, ("model",)), Effect(0.5, ("build",), "log2"), Effect(0.0, ("model", "build")))
    expected = [[4 + 9, 4, 4 + 9], [4, 4 + 9 + 0.25 * 4, 4], [4 + 9, 4, 4 + 9 + 0.25]]
    np.testing.assert_allclose(covariance(effects, FEATURES, 3), expected)


def test_all_features_must_agree() -> None:
    both = covariance((Effect(1.0, ("model", "build")),), FEATURES, 3)
    np.testing.assert_array_equal(both, np.eye(3))


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.floats(-3, 3)), min_size=1, max_size=11))
def test_it_is_a_covariance(rows: list[tuple[int, bool, float]]) -> None:
    features = {"model": [r[0] for r in rows], "build": [r[1] for r in rows], "log2": [r[2] for r in rows]}
    effects = (Effect(0.3, ("model",)), Effect(0.1, ("model", "build"), "log2"), Effect(1.0, (), "log2"))
    found = covariance(effects, features, len(rows))
    np.testing.assert_array_equal(found, found.T)
    assert np.linalg.eigvalsh(found).min() > -1e-9


def test_equal_values_have_equal_codes() -> None:
    assert codes(["x", ("y", 1), "x", None]).tolist() == [0, 1, 0, 2]
