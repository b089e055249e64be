"""Levels come back from their planes, and neighbours lie where a kernel looks for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refmodel.packed.planes import pack_levels, plane_shapes, unpack_levels


@pytest.mark.parametrize("bits", [4, 5, 6])
@given(st.integers(0, 2**32 - 1))
def test_levels_come_back(bits, seed):
    level = np.random.default_rng(seed).integers(0, 2**bits, (2, 3, 192), np.uint8)
    planes = pack_levels(level, bits)
    shapes = plane_shapes(bits, 3, 192)
    assert {name: ((2, *shape), dtype) for name, (shape, dtype) in shapes.items()} == {
        name: (plane.shape, plane.dtype) for name, plane in planes.items()
    }
    np.testing.assert_array_equal(unpack_levels(planes, bits), level)


def test_every_bit_lies_where_it_is_said_to():
    level = np.random.default_rng(0).integers(0, 64, (3, 192), np.uint8)
    planes = pack_levels(level, 6)
    for row, depth in np.ndindex(level.shape):
        pair, half, lane = depth // 64, depth % 64 // 32, depth % 32
        assert planes["low"][row, 32 * pair + lane] >> 4 * half & 15 == level[row, depth] & 15
        for plane in range(2):
            assert planes["high"][plane, row, depth // 32] >> lane & 1 == level[row, depth] >> 4 + plane & 1


def test_levels_of_eight_bits_are_bytes():
    level = np.arange(33, dtype=np.uint8).reshape(3, 11)
    assert pack_levels(level, 8)["byte"] is level
    assert plane_shapes(8, 3, 11) == {"byte": ((3, 11), np.uint8)}


@pytest.mark.parametrize(
    ("bits", "depth", "message"),
    [
        (3, 64, "levels have 4, 5, 6 or 8 bits, got 3"),
        (4, 96, "4 bits are packed along a multiple of 64 numbers, got 96"),
    ],
)
def test_what_has_no_planes_is_refused(bits, depth, message):
    with pytest.raises(ValueError, match=message):
        plane_shapes(bits, 7, depth)
