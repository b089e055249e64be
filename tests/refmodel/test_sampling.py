"""top-k and top-p against their definitions, token by token in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmodel import sampling as sampling_module
from refmodel.sampling import Sampling, sampling

LOGITS = st.lists(st.integers(-5, 5), min_size=13, max_size=13)  # few values, so that there are equals

left_in, choose = jax.jit(sampling_module.left_in), jax.jit(sampling_module.choose)


def kept_ids(logits: list[int], top_k: int, top_p: float) -> list[int]:
    """Best first: as many as `top_k`, then until the probability among those reaches `top_p`."""
    ids = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[:top_k]
    weights = np.exp(np.array([logits[i] for i in ids], np.float64))
    reached = np.cumsum(weights / weights.sum())
    return ids[: int(np.argmax(reached >= top_p)) + 1]


@given(LOGITS, st.integers(1, 17), st.data())
def test_what_is_left_in_is_the_smallest_set_that_reaches_p(logits, top_k, data):
    best = sorted(logits, reverse=True)[:top_k]
    reached = np.cumsum(np.exp(np.float64(best)) / np.exp(np.float64(best)).sum())
    bounds = [0.0, *reached[:-1], 1.0]
    count = data.draw(st.integers(1, len(best)))
    top_p = (bounds[count - 1] + bounds[count]) / 2  # in the middle of a step, for rounding to have no say
    wanted = kept_ids(logits, top_k, top_p)
    assert len(wanted) == count
    logits_bv = jnp.array([logits], jnp.float32)
    assert np.flatnonzero(left_in(logits_bv, top_k, top_p)[0]).tolist() == sorted(wanted)
    assert int(left_in(logits_bv, top_k, None).sum()) == len(best)


def test_rows_are_cut_apart_and_drawn_from_what_is_left():
    logits_bv = jax.random.normal(jax.random.key(0), (3, 17))
    how = sampling(0.7, 5, 0.6)
    drawn_nb = jax.vmap(lambda key: choose(logits_bv, key, how))(jax.random.split(jax.random.key(1), 97))
    for row, logits in enumerate(np.asarray(logits_bv)):
        assert set(drawn_nb[:, row].tolist()) == set(kept_ids(list(logits / 0.7), 5, 0.6))


def test_one_likeliest_token_is_the_greedy_choice_and_all_of_them_no_cut():
    logits_bv, key = jax.random.normal(jax.random.key(2), (7, 13)), jax.random.key(3)
    best_b = choose(logits_bv, key, Sampling())
    np.testing.assert_array_equal(best_b, logits_bv.argmax(-1))
    for how in (sampling(2.0, 1, None), sampling(2.0, None, 1e-6)):
        np.testing.assert_array_equal(choose(logits_bv, key, how), best_b)
    for how in (sampling(1.2e-38, None, None), sampling(1.2e-38, 5, 1e-45), sampling(2.0, None, 5e-324)):
        np.testing.assert_array_equal(choose(17 * logits_bv, key, how), best_b)
    free_b = choose(logits_bv, key, sampling(2.0, None, None))
    for how in (sampling(2.0, 13, None), sampling(2.0, 2**40, 1.0)):
        np.testing.assert_array_equal(choose(logits_bv, key, how), free_b)
    assert (free_b != best_b).any()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((1.0, 0, None), "top_k must be a whole number of at least 1, got 0"),
        ((1.0, 2.0, None), "top_k must be a whole number of at least 1, got 2.0"),
        ((1.0, None, 0.0), "top_p must be above 0 and at most 1, got 0.0"),
        ((1.0, None, 1.1), "top_p must be above 0 and at most 1, got 1.1"),
        ((1.0, None, np.nan), "top_p must be above 0 and at most 1, got nan"),
        ((1.0, None, "all"), "top_p: a number is wanted, got 'all'"),
        ((0.0, 3, None), "give a temperature above 0"),
        ((0, None, 0.9), "give a temperature above 0"),
        ((-1.0, None, None), "temperature must be a finite number of at least 0, got -1.0"),
        ((1e-38, None, None), r"temperature must be 0 or from 1.18e-38 to 3.4e\+38, got 1e-38"),
        ((1e39, 3, None), r"temperature must be 0 or from 1.18e-38 to 3.4e\+38, got 1e\+39"),
    ],
)
def test_what_leaves_nothing_in_is_refused(asked, said):
    with pytest.raises(ValueError, match=said):
        sampling(*asked)
