"""Perplexity and divergence against their definitions in NumPy."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eval.quality import divergence
from eval.quality.text_quality import MOST_KL_NATS, MOST_PERPLEXITY, TextSpread
from refmodel.model import unembed
from refmodel.presets import preset
from refmodel.weights.random import random_params

pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.mark.parametrize("tokens", [2, 257, 300])  # one prediction; a whole stretch of logits; a ragged one
def test_per_token_figures_are_their_definitions(tokens):
    config = preset("tiny-dense")
    params = random_params(config, 0, jnp.float32)
    ids = jax.random.randint(jax.random.key(1), (tokens,), 0, config.vocab_size)
    reference, variant = 9 * jax.random.normal(jax.random.key(2), (2, tokens, config.d_model))
    found = divergence.per_token(config, params, ids, reference, variant)

    def log_probabilities(hidden):
        logits = np.asarray(unembed(config, params, hidden), np.float64)
        return (
            logits
            - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
            - logits.max(1, keepdims=True)
        )

    p, q = (log_probabilities(hidden)[:-1] for hidden in (reference, variant))
    for nll, log in ((found.nll_nats, q), (found.full_nll_nats, p)):
        np.testing.assert_allclose(nll, -log[np.arange(tokens - 1), np.asarray(ids[1:])], rtol=1e-4)
    np.testing.assert_allclose(found.kl_nats, (np.exp(p) * (p - q)).sum(1), rtol=1e-3)
    np.testing.assert_array_equal(found.top1_agrees, p.argmax(1) == q.argmax(1))


def test_summary_is_of_all_and_of_each_stretch():
    nll, kl = np.linspace(1, 3, 13), np.linspace(0, 1, 13)
    quality = divergence.summarise(divergence.PerToken(nll, nll, kl, np.arange(13) % 2), n_buckets=3)
    assert quality.perplexity == pytest.approx(np.exp(2.0))
    assert quality.kl_nats == pytest.approx(0.5)
    assert quality.top1_agreement == pytest.approx(6 / 13)
    assert [(b.first, b.last) for b in quality.by_position] == [(1, 4), (5, 8), (9, 13)]
    assert quality.by_position[1].perplexity == pytest.approx(np.exp(nll[4:8].mean()))
    assert quality.spread == TextSpread(pytest.approx(0.99), first_departure=1)  # too short for intervals


def test_intervals_are_those_of_drawn_blocks_and_the_change_is_of_the_same_ones():
    rng = np.random.default_rng(0)
    nll, kl = 3 + rng.normal(size=1_531), rng.exponential(size=1_531)
    agrees = np.arange(1_531) != 1_200
    spread = divergence.summarise(divergence.PerToken(nll, nll - 0.25, kl, agrees)).spread
    assert spread.kl_p99_nats == np.quantile(kl, 0.99) and spread.first_departure == 1_201
    change = math.exp(0.25) - 1
    assert (spread.perplexity_change.low, spread.perplexity_change.high) == pytest.approx((change, change))
    assert spread.perplexity.low < math.exp(nll.mean()) < spread.perplexity.high
    assert spread.kl_nats.low < kl.mean() < spread.kl_nats.high
    same = divergence.summarise(divergence.PerToken(nll, nll, 0 * kl, agrees | True)).spread
    assert same.first_departure is None and (same.perplexity_change.low, same.perplexity_change.high) == (0, 0)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("whose", ["the variant's", "full attention's"])
def test_what_is_no_number_is_put_down_to_the_one_that_has_it(number, whose):
    config, ids = preset("tiny-dense"), jnp.arange(5)
    params = {"embed": {"embedding": jnp.eye(config.vocab_size, config.d_model)}}
    fine = jnp.ones((5, config.d_model))
    broken = fine.at[2, 40].set(number)
    params |= {"final_norm": {"scale": jnp.ones(config.d_model)}}
    pair = (fine, broken) if whose == "the variant's" else (broken, fine)
    said = f"^NaN or Inf in {whose} logits: of 1 of 4 predictions, the first of token 3$"
    with pytest.raises(FloatingPointError, match=said):
        divergence.per_token(config, params, ids, *pair)


def test_what_no_record_takes_is_not_summed_up():
    ones = np.ones(5)
    most = math.log(MOST_PERPLEXITY)
    fine = divergence.PerToken(0.999 * most * ones, ones, MOST_KL_NATS * ones, ones)
    assert divergence.summarise(fine).perplexity > 1e299
    with pytest.raises(FloatingPointError, match="692 nats a token are more than a perplexity can be"):
        divergence.summarise(divergence.PerToken(1.002 * most * ones, ones, ones, ones))
    with pytest.raises(FloatingPointError, match=r"1e\+10 nats a token are more than a divergence can be"):
        divergence.summarise(divergence.PerToken(ones, ones, 10 * MOST_KL_NATS * ones, ones))
    long = 689 + np.tile(np.repeat([15.0, -15.0, 0.0], 64), 8)  # of which some draws are more than a record takes
    spread = divergence.summarise(divergence.PerToken(long, long - 1, 0 * long, long)).spread
    assert spread.perplexity.high == pytest.approx(MOST_PERPLEXITY)


def test_a_text_of_one_token_predicts_nothing():
    config = preset("tiny-dense")
    with pytest.raises(ValueError, match="at least 2 tokens, got 1"):
        divergence.per_token(config, {}, jnp.zeros(1, int), jnp.zeros((1, 48)), jnp.zeros((1, 48)))
