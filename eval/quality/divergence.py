"""What a variant costs in quality: perplexity on a text, and how far its predictions drift from full attention's."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import optax

from refmodel.cache import init_cache
from refmodel.config import ModelConfig
from refmodel.model import Params, hidden_states, unembed

LOGITS_TOKENS = 256
"""Tokens whose logits exist at one time: those of a whole text would be gigabytes."""


@dataclass(frozen=True)
class PerToken:
    """Of each predicted token of a text, [T - 1], float64."""

    nll_nats: np.ndarray
    kl_nats: np.ndarray
    top1_agrees: np.ndarray


@dataclass(frozen=True)
class Bucket:
    """Quality over the predictions of tokens first..last of the text."""

    first: int
    last: int
    perplexity: float
    kl_nats: float


@dataclass(frozen=True)
class Quality:
    """Over a text read in one pass (stride = length).

    Attributes:
        perplexity: exp(mean negative log likelihood of the next token).
        kl_nats: mean KL(full attention || variant) of the next-token distributions.
        top1_agreement: share of tokens where both would choose the same next token.
        by_position: the same along the text: a window hurts only beyond its length.
    """

    perplexity: float
    kl_nats: float
    top1_agreement: float
    by_position: tuple[Bucket, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "by_position": [asdict(bucket) for bucket in self.by_position]}


def final_hidden(config: ModelConfig, params: Params, tokens_t: jax.Array) -> jax.Array:
    """Final hidden states [T, D] of one text."""

    config = config.at_length(tokens_t.size)

    @jax.jit
    def run(params: Params, tokens_bt: jax.Array) -> jax.Array:
        cache = init_cache(config, 1, tokens_bt.shape[1], params["embed"]["embedding"].dtype)
        return hidden_states(config, params, cache, tokens_bt, first=True).final_btd[0]

    return run(params, tokens_t[None])


def per_token(
    config: ModelConfig, params: Params, tokens_t: jax.Array, reference_td: jax.Array, variant_td: jax.Array
) -> PerToken:
    """Compares final hidden states of the reference (full attention) and of a variant on the same text."""
    if len(tokens_t) < 2:
        raise ValueError(f"quality needs a text of at least 2 tokens, got {len(tokens_t)}")
    predicting = len(tokens_t) - 1
    parts = [
        compare_tokens(config, params, tokens_t[i + 1 : j + 1], reference_td[i:j], variant_td[i:j])
        for i in range(0, predicting, LOGITS_TOKENS)
        for j in [min(i + LOGITS_TOKENS, predicting)]
    ]
    return PerToken(*(np.concatenate([np.asarray(part[k], np.float64) for part in parts]) for k in range(3)))


@partial(jax.jit, static_argnums=0)
def compare_tokens(config, params, targets_t, reference_td, variant_td):
    reference_tv, variant_tv = (unembed(config, params, hidden) for hidden in (reference_td, variant_td))
    nll = optax.losses.softmax_cross_entropy_with_integer_labels(variant_tv, targets_t)
    reference_log, variant_log = (jax.nn.log_softmax(logits) for logits in (reference_tv, variant_tv))
    kl = optax.losses.kl_divergence_with_log_targets(variant_log, reference_log)
    return nll, kl, reference_tv.argmax(-1) == variant_tv.argmax(-1)


def summarise(tokens: PerToken, n_buckets: int = 8) -> Quality:
    """Means over the text, and over `n_buckets` equal stretches of it."""

    def perplexity(nll: np.ndarray) -> float:
        return math.exp(nll.mean())

    n = len(tokens.nll_nats)
    edges = np.linspace(0, n, min(n_buckets, n) + 1).astype(int)
    buckets = tuple(
        Bucket(int(i) + 1, int(j), perplexity(tokens.nll_nats[i:j]), float(tokens.kl_nats[i:j].mean()))
        for i, j in itertools.pairwise(edges)
    )
    return Quality(perplexity(tokens.nll_nats), float(tokens.kl_nats.mean()), float(tokens.top1_agrees.mean()), buckets)
