"""Every point has its name, near it, and names neither touch one another nor cover points while there is room."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.report.page.placing import Box, places
from eval.report.page.plot import LETTER, WIDE

LEFT, RIGHT = WIDE.across
BOTTOM, TOP = WIDE.upward
PLACE = st.tuples(st.floats(LEFT, RIGHT), st.floats(TOP, BOTTOM), st.text("x", min_size=1, max_size=22))


@given(st.lists(PLACE, min_size=1, max_size=61))
def test_every_name_is_there_and_inside_whatever_the_points(points):
    boxes = places(WIDE, points)
    assert len(boxes) == len(points)
    for box, (_, _, name) in zip(boxes, points, strict=True):
        assert math.isclose(box.right - box.left, LETTER * len(name))
        assert box.left >= LEFT and box.right <= WIDE.width and 0 <= box.top < box.bottom <= BOTTOM


@pytest.mark.parametrize("seed", range(5))
def test_a_dozen_names_on_one_heap_are_apart(seed):
    middle = (LEFT + RIGHT) / 2, (BOTTOM + TOP) / 2
    points = [(*place, "evict(tova…)") for place in middle + np.random.default_rng(seed).uniform(-9, 9, (12, 2))]
    boxes = places(WIDE, points)
    assert not any(one.shared(other) for one, other in itertools.combinations(boxes, 2))
    assert not any(one.shared(Box(a - 3, b - 3, a + 3, b + 3)) for one in boxes for a, b, _ in points)


def test_the_first_name_is_right_of_its_point():
    (box,) = places(WIDE, [(100.0, 100.0, "full")])
    assert box.nearest(100.0, 100.0) == (box.left, 100.0) and 100 < box.left < 112
