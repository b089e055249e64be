"""Counts that are exact on a device, beyond what 32 bits and a float32 hold."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from attention.exact_count import ExactCount

counts = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=7)
times = st.integers(0, 2**30)
pytestmark = pytest.mark.usefixtures("fast_compile")


def exact(numbers) -> ExactCount:
    return ExactCount.of(jnp.asarray(numbers, jnp.int32))


@given(counts, times, counts, times)
def test_it_is_the_integer(a, m, b, n):
    assert int(exact(a) * m + exact(b) * n) == sum(a) * m + sum(b) * n


@given(st.integers(0, 2**33), times)
def test_a_constant_is_its_number(number, m):
    assert int(ExactCount.constant(number)) == number and int(ExactCount.constant(number) * m) == number * m


@pytest.mark.parametrize("size", [65_535, 65_537, 131_101])
def test_many_counts_are_summed_without_a_rounding(size):
    assert int(jax.jit(exact)(np.full(size, 2**31 - 1))) == size * (2**31 - 1)


def test_a_scan_adds_up_inside_and_on_the_host():
    def turn(total: ExactCount, number: jax.Array) -> tuple[ExactCount, ExactCount]:
        one = ExactCount.of(number) * (2**31 + 11)
        return total + one, one

    carried, stacked = jax.jit(lambda numbers: lax.scan(turn, exact([0]), numbers))(jnp.arange(2**20, 2**20 + 37))
    assert int(carried) == int(stacked) == int(stacked.total()) == sum(range(2**20, 2**20 + 37)) * (2**31 + 11)


def test_a_batch_of_counts_keeps_its_axis_until_the_host():
    found = jax.vmap(lambda numbers: ExactCount.of(numbers) * 3)(jnp.full((5, 2), 2**31 - 1))
    assert found.digits.shape == (5, 4) and int(found) == 30 * (2**31 - 1)
