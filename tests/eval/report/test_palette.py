"""Colours stand out from their page and from one another; pairs of colour and marker do not repeat soon."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from eval.measure.default_sweep import LAYOUTS
from eval.report.palette import DARK, LIGHT, MARKERS, PAGE_DARK, PAGE_LIGHT

SCHEMES = pytest.mark.parametrize(("page", "colours"), [(PAGE_LIGHT, LIGHT), (PAGE_DARK, DARK)])
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
JUST_NOTICEABLE = 2.3  # of CIELAB (Mahy et al. 1994)


def linear_light(colour: str) -> np.ndarray:
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def cielab(colour: str) -> np.ndarray:
    x, y, z = np.cbrt(TO_XYZ @ linear_light(colour) / TO_XYZ.sum(1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@SCHEMES
def test_every_layout_stands_out_from_the_page(page, colours):
    """WCAG 2.1, 1.4.11: 3 to 1 for what is drawn."""
    for colour in colours:
        dark, light = sorted(TO_XYZ[1] @ linear_light(one) for one in (page, colour))
        assert (light + 0.05) / (dark + 0.05) >= 3, colour


@SCHEMES
def test_no_two_colours_are_alike(page, colours):
    apart = {pair: np.linalg.norm(np.subtract(*map(cielab, pair))) for pair in itertools.combinations(colours, 2)}
    assert min(apart.values()) > 8 * JUST_NOTICEABLE, min(apart, key=apart.get)


def test_the_default_run_has_a_colour_for_each_layout():
    assert len(LIGHT) == len(DARK) >= len({"full", *map(str, LAYOUTS)})
    assert math.gcd(len(LIGHT), len(MARKERS)) == 1
