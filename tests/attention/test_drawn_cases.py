"""Thousands of drawn cases against float64: no row of any implementation is wrong."""

from __future__ import annotations

import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attended import Attended
from attention.kernels.blockwise import attend_blockwise
from attention.kernels.dense import attend_dense
from attention.pattern import SpanPattern, Spans
from attention.sink_logits import with_sink_logits
from tests.attention.drawn_cases import FAR, FORMS, LARGE, Case, Sizes, drawn_cases

pytestmark = pytest.mark.usefixtures("fast_compile")

SEED = 28


@functools.cache
def program(size: Sizes, form: int, impl: str):
    """One for all cases that differ in their numbers alone."""
    spans, blocks = FORMS[form].spans, FORMS[form].blocks

    def attend(*operands, need_lse=True, **pattern):
        if impl == "dense":
            return Attended(*attend_dense(*operands, **pattern))
        return attend_blockwise(*operands, blocks=blocks, **pattern)

    def attended(sink_n, *operands, **pattern):
        beside = attend if sink_n is None else with_sink_logits(attend, sink_n)
        found = beside(*operands, **pattern)
        return found.out_btnh, found.lse_bnt

    return jax.jit(partial(attended, pattern=spans(size.k * size.g)) if callable(spans) else attended)


def run(case: Case, impl: str) -> tuple[np.ndarray, np.ndarray]:
    spans = () if isinstance(case.pattern, SpanPattern) else (case.pattern,)
    found = program(*case.program, impl)(case.sink_n, case.q, case.k, case.v, case.q_pos, case.kv_pos, *spans)
    return tuple(map(np.asarray, found))


def check(cases: list[Case]) -> None:
    for case in cases:
        out, lse = case.exact()
        sees = np.isfinite(lse)
        padding = np.broadcast_to(case.q_pos < 0, lse.shape[::2])
        for impl in ("dense", "blockwise"):
            found, found_lse = run(case, impl)
            np.testing.assert_allclose(found, out, atol=2e-5, rtol=0, err_msg=f"{impl}, {case.named}")
            # Of padding blockwise need not know that it sees nothing.
            of_rows = ~padding[:, None] & np.ones(lse.shape, bool)
            np.testing.assert_array_equal(np.isfinite(found_lse)[of_rows], sees[of_rows], err_msg=case.named)
            at = sees & of_rows  # in float32 the ulp of a logit of 1e4 is 1e-3
            np.testing.assert_allclose(found_lse[at], lse[at], atol=2e-5, rtol=2e-7, err_msg=f"{impl}, {case.named}")
            assert not found[padding].any(), f"{impl}, {case.named}: padding is not zero"


def test_some_drawn_cases_are_those_of_float64():
    check(list(drawn_cases(60, SEED, sizes=1, forms=3)))


@pytest.mark.slow
def test_drawn_cases_are_those_of_float64(share):
    """500, or as many as `--cases` says."""
    cases = list(drawn_cases(share.count(500), SEED + share.number))
    check(cases)
    scores = [np.abs(case.q).max() for case in cases]
    blind = [~case.mask().any(-1) for case in cases[:200]]
    assert max(case.kv_pos.max() for case in cases) > 2 * FAR and max(scores) > LARGE / 1e3
    assert any(one.any() and not one.all() for one in blind)
    assert any(isinstance(case.pattern, Spans) and (np.asarray(case.pattern.span_bmt) == 1).any() for case in cases)


def test_logits_reach_ten_thousand():
    """And are exact, so that the tolerance is that of small ones."""
    large = [case for case in drawn_cases(60, SEED) if np.abs(case.q).max() > 30]
    assert len(large) >= 5
    for case in large:
        group = case.q.shape[2] // case.k.shape[2]
        scores = np.einsum("btnh,bsnh->bnts", case.q.astype(float), case.k.repeat(group, 2)) / case.q.shape[3] ** 0.5
        assert 0.7 * LARGE < np.abs(scores).max() < 1.4 * LARGE
        assert jnp.float32(scores.max()) == scores.max()
