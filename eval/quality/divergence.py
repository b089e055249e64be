"""What a variant costs in quality: perplexity on a text, and how far its predictions drift from full attention's."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from eval.quality.bootstrap import mean_intervals
from eval.quality.text_quality import (
    MOST_KL_NATS,
    MOST_PERPLEXITY,
    Interval,
    Stretch,
    TextQuality,
    TextSpread,
)
from refmodel.cache import init_cache
from refmodel.model import Params, hidden_states, unembed
from refmodel.specification import ModelConfig
from refmodel.token_ids import check_token_ids

LOGITS_TOKENS = 256
"""Tokens whose logits exist at one time: those of a whole text would be gigabytes."""


@dataclass(frozen=True)
class PerToken:
    """Of each predicted token of a text, [T - 1], float64: the variant's figures, and full attention's likelihood."""

    nll_nats: np.ndarray
    full_nll_nats: np.ndarray
    kl_nats: np.ndarray
    top1_agrees: np.ndarray


def final_hidden(config: ModelConfig, params: Params, tokens_t: jax.Array) -> jax.Array:
    """Final hidden states [T, D] of one text.  Raises `ValueError` for an id that the vocabulary does not have."""
    check_token_ids(tokens_t, config.vocab_size)
    config = config.at_length(tokens_t.size)

    @jax.jit
    def run(params: Params, tokens_bt: jax.Array) -> jax.Array:
        cache = init_cache(config, 1, tokens_bt.shape[1], params["embed"]["embedding"].dtype)
        return hidden_states(config, params, cache, tokens_bt, first=True).final_btd[0]

    return run(params, tokens_t[None])


def per_token(
    config: ModelConfig, params: Params, tokens_t: jax.Array, reference_td: jax.Array, variant_td: jax.Array
) -> PerToken:
    """Compares final hidden states of the reference (full attention) and of a variant on the same text.

    Raises:
        ValueError: a text of fewer than 2 tokens.
        FloatingPointError: NaN or Inf in logits, which says whose, or in what is computed of them.
    """
    if len(tokens_t) < 2:
        raise ValueError(f"quality needs a text of at least 2 tokens, got {len(tokens_t)}")
    predicting = len(tokens_t) - 1
    parts = [
        compare_tokens(config, params, tokens_t[i + 1 : j + 1], reference_td[i:j], variant_td[i:j])
        for i in range(0, predicting, LOGITS_TOKENS)
        for j in [min(i + LOGITS_TOKENS, predicting)]
    ]
    nll, full_nll, kl, agrees, variant_finite, reference_finite = (
        np.concatenate(figure, dtype=np.float64) for figure in zip(*parts, strict=True)
    )
    for fine, where in (
        (variant_finite, "the variant's logits"),
        (reference_finite, "full attention's logits"),
        (np.isfinite(nll + full_nll) & np.isfinite(kl), "the figures of finite logits"),
    ):
        wrong = fine == 0
        if wrong.any():
            raise FloatingPointError(
                f"NaN or Inf in {where}: of {wrong.sum():,} of {predicting:,} predictions, the first of token "
                f"{wrong.argmax() + 1:,}"
            )
    return PerToken(nll, full_nll, kl, agrees)


@partial(jax.jit, static_argnums=0)
def compare_tokens(
    config: ModelConfig, params: Params, targets_t: jax.Array, reference_td: jax.Array, variant_td: jax.Array
) -> tuple[jax.Array, ...]:
    """Of each target: its negative log likelihood under the variant and the reference, the divergence, whether both
    find the same token likeliest, and whether all logits of the variant and of the reference are finite."""
    reference_tv, variant_tv = (unembed(config, params, hidden) for hidden in (reference_td, variant_td))
    nll, reference_nll = (
        optax.losses.softmax_cross_entropy_with_integer_labels(logits, targets_t)
        for logits in (variant_tv, reference_tv)
    )
    reference_log, variant_log = (jax.nn.log_softmax(logits) for logits in (reference_tv, variant_tv))
    kl = optax.losses.kl_divergence_with_log_targets(variant_log, reference_log)
    finite = (jnp.isfinite(logits).all(-1) for logits in (variant_tv, reference_tv))
    return nll, reference_nll, kl, reference_tv.argmax(-1) == variant_tv.argmax(-1), *finite


def summarise(tokens: PerToken, n_buckets: int = 8) -> TextQuality:
    """Means over the text, and over `n_buckets` equal stretches of it.

    Raises `FloatingPointError` above `MOST_PERPLEXITY` and `MOST_KL_NATS`, which no record takes.
    """

    def perplexity(nll: np.ndarray) -> float:
        mean_nats = float(nll.mean())
        if not mean_nats < math.log(MOST_PERPLEXITY):
            raise FloatingPointError(f"{mean_nats:,.0f} nats a token are more than a perplexity can be")
        return math.exp(mean_nats)

    def divergence(kl: np.ndarray) -> float:
        mean_nats = float(kl.mean())
        if not mean_nats <= MOST_KL_NATS:
            raise FloatingPointError(f"{mean_nats:.3g} nats a token are more than a divergence can be")
        return mean_nats

    n = len(tokens.nll_nats)
    edges = np.linspace(0, n, min(n_buckets, n) + 1).astype(int)
    buckets = tuple(
        Stretch(int(i) + 1, int(j), perplexity(tokens.nll_nats[i:j]), divergence(tokens.kl_nats[i:j]))
        for i, j in itertools.pairwise(edges)
    )
    kl_nats, agreement = divergence(tokens.kl_nats), float(tokens.top1_agrees.mean())
    return TextQuality(perplexity(tokens.nll_nats), kl_nats, agreement, buckets, spread_of(tokens))


def spread_of(tokens: PerToken) -> TextSpread:
    """What the means do not say."""
    departs = np.asarray(tokens.top1_agrees) == 0
    first = int(departs.argmax()) + 1 if departs.any() else None
    p99_nats = float(np.quantile(tokens.kl_nats, 0.99))
    means = mean_intervals(np.stack([tokens.nll_nats, tokens.nll_nats - tokens.full_nll_nats, tokens.kl_nats]))
    if means is None:
        return TextSpread(p99_nats, first)
    nll, more, kl = means.tolist()
    most = math.log(MOST_PERPLEXITY)  # which a mean is below, and the mean of drawn blocks need not be
    perplexity, ratio = (Interval(*(math.exp(min(one, most)) for one in nats)) for nats in (nll, more))
    return TextSpread(p99_nats, first, perplexity, Interval(ratio.low - 1, ratio.high - 1), Interval(*kl))
