"""Weights packed while they are loaded: what rounding costs them, and what is exact."""

from __future__ import annotations

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmodel.packed.codings import parse_coding

NAMES = ("int4", "int4(16)", "int8", "int8(32)", "fp8", "fp8(64)", "q4_0", "q5_0", "q8_0")


def grouped(coding, weight):
    return weight.reshape(*weight.shape[:-1], -1, coding.group_size(weight.shape[-1]))


@given(st.sampled_from(NAMES), st.integers(0, 2**32 - 1), st.floats(-3, 1))
def test_a_weight_is_off_by_no_more_than_its_step(name, seed, magnitude):
    """Half a step of a group's scale, and where the largest negative is, its positive is one step off at most."""
    coding = parse_coding(name)
    weight = (np.random.default_rng(seed).normal(size=(2, 3, 256)) * 10**magnitude).astype(np.float32)
    parts = coding.encode(weight)
    assert {one: part.shape for one, part in parts.items()} == {
        one: (2, *shape) for one, (shape, _) in coding.shapes(3, 256).items()
    }
    found = np.asarray(coding.decode(parts, 3, 256))
    scale = np.abs(parts["scale"].astype(np.float32))[..., None]
    error, size = np.abs(grouped(coding, found) - grouped(coding, weight)), np.abs(grouped(coding, weight))
    if "fp8" in name:  # three bits of mantissa, and the smallest of 2^-9
        limit = np.maximum(size * 2**-4, scale * 2**-10) * 1.01 + size.max(-1, keepdims=True) * 2**-8
    else:
        most = 2 ** (coding.bits - 1) - (coding.bits < 8)
        limit = np.maximum(scale * 0.501, size - scale * most + scale * 0.01)
    assert (error <= limit).all()


@pytest.mark.parametrize("name", ["int4", "int8", "q4_0", "q5_0", "q8_0"])
def test_the_largest_of_a_group_is_exact_but_for_its_scale(name):
    coding = parse_coding(name)
    weight = np.random.default_rng(0).normal(size=(5, 256)).astype(np.float32)
    found = grouped(coding, np.asarray(coding.decode(coding.encode(weight), 5, 256)))
    wanted = grouped(coding, weight)
    place = np.abs(wanted).argmax(-1)[..., None]
    largest = np.take_along_axis(wanted, place, -1)
    np.testing.assert_allclose(np.take_along_axis(found, place, -1), largest, rtol=2**-8)


def test_the_largest_of_a_group_is_the_largest_8_bit_float():
    weight = np.random.default_rng(0).normal(size=(5, 256)).astype(np.float32)
    byte = np.abs(parse_coding("fp8(64)").encode(weight)["byte"].astype(np.float32))
    assert (byte.reshape(5, 4, 64).max(-1) == 448).all()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_exact(name):
    coding = parse_coding(name)
    with np.errstate(all="raise"):
        parts = coding.encode(np.zeros((3, 128), np.float32))
    assert not np.asarray(coding.decode(parts, 3, 128)).any()


def test_what_a_coding_makes_again_it_has_made():
    """Weights that are whole multiples of a power of two come back bit for bit."""
    level = np.random.default_rng(0).integers(-7, 8, (3, 256))
    level[:, ::32] = -8
    weight = level.astype(np.float32) / 64
    coding = parse_coding("int4")
    np.testing.assert_array_equal(coding.decode(coding.encode(weight), 3, 256), weight)


def test_scales_reach_as_far_as_weights_do():
    weight = np.full((1, 64), 1e-20, np.float32)
    np.testing.assert_allclose(
        parse_coding("int4").decode(parse_coding("int4").encode(weight), 1, 64), weight, rtol=2**-8
    )


def test_eight_bits_are_of_the_types_that_products_take():
    assert parse_coding("int8").shapes(3, 128)["byte"] == ((3, 128), jnp.int8)
    assert parse_coding("fp8").encode(np.ones((3, 128)))["byte"].dtype == ml_dtypes.float8_e4m3fn
