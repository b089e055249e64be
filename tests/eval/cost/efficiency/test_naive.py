"""The parabola."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.cost.efficiency.naive import two_point_rate
from tests.eval.cost.packaged import measured


@given(st.floats(1e-5, 1e-3), st.floats(1e-10, 1e-8))
def test_it_is_exact_on_a_parabola(a: float, b: float) -> None:
    def at(tokens: int, depth: int) -> float:
        end = tokens + depth
        return tokens / (a * tokens + b * (end**2 - depth**2))

    rows = [measured("llama2-7b", n, d, at(n, d)) for n, d in ((512, 0), (2048, 16_384), (4096, 0))]
    for row in rows:
        others = [other for other in rows if other is not row]
        assert two_point_rate(row, others) == pytest.approx(row.tokens_per_s, rel=1e-6)


def test_it_goes_through_the_ends_whatever_their_order() -> None:
    off, row = measured("llama2-7b", 2048, 0, 7.0), measured("llama2-7b", 1024)
    ends = measured("llama2-7b", 512), measured("llama2-7b", 4096)
    assert two_point_rate(row, [off, *ends]) == two_point_rate(row, [*reversed(ends), off]) == two_point_rate(row, ends)


def test_it_needs_two_lengths_other_than_the_row_s() -> None:
    row, repeat, other = measured("llama2-7b", 512), measured("llama2-7b", 512), measured("llama2-7b", 2048)
    assert two_point_rate(row, [repeat, other]) is None
    assert two_point_rate(row, [other]) is None
    assert two_point_rate(measured("llama2-7b", 128, decode=True), [row, other]) is None
