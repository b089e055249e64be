"""Norm, rotary positions and routing against their formulas."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refmodel.feed_forward import route
from refmodel.norm import rms_norm
from refmodel.parts import Experts, Norm, Rope
from refmodel.rope import apply_rope, rope_angles


def test_rms_norm_in_bfloat16_has_float32_statistics():
    x = np.random.default_rng(0).normal(size=(3, 257)) + 100
    scale = np.linspace(0.5, 2, 257)
    expected = scale * x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    chex.assert_trees_all_close(rms_norm(jnp.asarray(x), jnp.asarray(scale), Norm(1e-6)), expected, rtol=1e-5)
    out = rms_norm(jnp.asarray(x, jnp.bfloat16), jnp.asarray(scale, jnp.bfloat16), Norm(1e-6))
    assert out.dtype == jnp.bfloat16
    chex.assert_trees_all_close(out.astype(jnp.float32), expected, rtol=2e-2)
    exact = np.asarray(short := jnp.asarray(x - 100, jnp.bfloat16), np.float64)
    rounded_once = exact / np.sqrt((exact**2).mean(-1, keepdims=True) + 1e-6)
    out = rms_norm(short, jnp.ones(257, jnp.bfloat16), Norm(1e-6)).astype(jnp.float32)
    np.testing.assert_allclose(out, rounded_once, rtol=1.01 * 2**-8)


def test_rope_turns_the_pairs_i_and_i_plus_half():
    head_dim, theta, position = 6, 100.0, 5
    x = np.random.default_rng(1).normal(size=head_dim)
    out = apply_rope(jnp.asarray(x)[None, None, None], rope_angles(jnp.asarray([[position]]), head_dim, Rope(theta)))
    half = head_dim // 2
    pairs = (x[:half] + 1j * x[half:]) * np.exp(1j * position * theta ** (-2 * np.arange(half) / head_dim))
    chex.assert_trees_all_close(np.asarray(out).ravel(), np.r_[pairs.real, pairs.imag].astype(np.float32), atol=1e-5)


def test_rope_scores_depend_on_distance_alone():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 16))

    def score(i, j):
        turned = (apply_rope(x, rope_angles(jnp.asarray([[p]]), 16, Rope(1e4))) for x, p in ((q, i), (k, j)))
        return float(jnp.vdot(*turned))

    assert score(3, 1) == pytest.approx(score(103, 101), abs=1e-4)
    assert score(3, 1) != pytest.approx(score(3, 2), abs=1e-2)


@pytest.mark.parametrize("renormalise", [True, False])
def test_route_is_softmax_then_top_k(renormalise):
    experts = Experts(n_experts=11, experts_per_token=3, d_expert=24, norm_topk_prob=renormalise)
    rng = np.random.default_rng(2)
    x, router = rng.normal(size=(5, 48)), rng.normal(size=(48, experts.n_experts))
    expert_rk, weight_rk = route(jnp.asarray(x)[None], jnp.asarray(router)[None], jnp.int32(0), experts)
    logits = x @ router
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    best = np.argsort(-p, axis=1)[:, : experts.experts_per_token]
    np.testing.assert_array_equal(expert_rk, best)
    expected = np.take_along_axis(p, best, 1)
    if renormalise:
        expected /= expected.sum(1, keepdims=True)
    chex.assert_trees_all_close(weight_rk, expected.astype(np.float32), rtol=1e-4)
    assert weight_rk.dtype == jnp.float32
