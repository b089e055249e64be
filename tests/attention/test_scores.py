"""Scores that a function changes, on both paths, against float64 NumPy; and on the way back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attend import attend
from attention.chosen import BlockChoice, ChosenTokens
from attention.evict import Evict
from attention.pattern import SpanPattern
from attention.variant import Variant
from eval.testing import assert_causal, assert_flops_agree, assert_matches_dense

pytestmark = pytest.mark.usefixtures("fast_compile")

B, T, S, N, K, H = 2, 53, 197, 6, 2, 5
DOCUMENT_OF = np.sort(np.random.default_rng(5).integers(0, 7, S))
PATTERNS = {"full": SpanPattern(), "groups": SpanPattern((61, 131), (3, 0)), "heads": SpanPattern(tuple(range(9, 15)))}


def alibi(scores, q_pos, kv_pos, head):
    return scores - 2.0 ** (-8 * (head + 1) / N) * (q_pos - kv_pos)


def capped(scores, q_pos, kv_pos, head):
    return 0.7 * jnp.tanh(scores / 0.7)


def documents(scores, q_pos, kv_pos, head):
    of = jnp.asarray(DOCUMENT_OF)
    return jnp.where(of[q_pos] == of[kv_pos], scores, -jnp.inf)


def nothing_for_odd_heads(scores, q_pos, kv_pos, head):
    return jnp.where(head % 2 == 0, scores, -jnp.inf)


def by_the_root_of_the_distance(scores, q_pos, kv_pos, head):
    return scores * jnp.sqrt((0.25 + q_pos - kv_pos) / S)  # no number where the key is later


def in_bfloat16(scores, q_pos, kv_pos, head):
    return scores.astype(jnp.bfloat16)


SCORES = [alibi, capped, documents, nothing_for_odd_heads]


def operands():
    shapes = [(B, T, N, H), (B, S, K, H), (B, S, K, H)]
    q, k, v = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes))
    q_pos = np.stack([np.arange(S - T, S), np.where(np.arange(T) < 41, np.arange(T), -1)])  # ragged
    kv_pos = np.broadcast_to(np.arange(S), (1, 1, S))
    return q, k, v, jnp.asarray(q_pos), jnp.asarray(kv_pos)


def by_hand(score, pattern):
    """(output, log-sum-exp): float64, a row at a time."""
    q, k, v, q_pos, kv_pos = (np.asarray(x, np.float64 if x.ndim == 4 else int) for x in operands())
    out, lse = np.zeros(q.shape), np.full((B, N, T), -np.inf)
    spans = pattern.per_head(N)
    for b, t, n in np.ndindex(B, T, N):
        p, s = q_pos[b, t], kv_pos[0, 0]
        seen = s[(s <= p) & ((s < spans[n][1]) | (p - s < spans[n][0]))]
        if not seen.size:
            continue
        every = jnp.asarray(k[b, :, n * K // N] @ q[b, t, n] / H**0.5)  # of one size, that compiles once
        logits = np.asarray(score(every, p, s, n), np.float64)[seen]
        if logits.max() == -np.inf:
            continue
        weights = np.exp(logits - logits.max())
        out[b, t, n] = weights @ v[b, seen, n * K // N] / weights.sum()
        lse[b, n, t] = logits.max() + np.log(weights.sum())
    return out, lse


@pytest.mark.parametrize("impl", ["dense", "blockwise"])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize("score", SCORES)
def test_scores_are_the_function_s(score, pattern, impl):
    found = jax.jit(partial(attend, pattern=pattern, impl=impl, need_lse=True, score=score))(*operands())
    out, lse = by_hand(score, pattern)
    chex.assert_trees_all_close((found.out_btnh, found.lse_bnt), (out, lse), atol=3e-5)


@pytest.mark.parametrize("score", [*SCORES, by_the_root_of_the_distance])
def test_the_way_back_is_that_of_the_whole_mask(score):
    *qkv, q_pos, kv_pos = operands()
    direction = jax.random.normal(jax.random.key(7), (B, T, N, H))

    def gradients(impl):
        def loss(q, k, v):
            run = attend(q, k, v, q_pos, kv_pos, PATTERNS["groups"], impl=impl, score=score)
            return (run.out_btnh * direction).sum()

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*qkv)

    chex.assert_tree_all_finite(gradients("blockwise"))
    chex.assert_trees_all_close(gradients("blockwise"), gradients("dense"), atol=5e-6)


@pytest.mark.parametrize("impl", ["dense", "blockwise"])
def test_scores_of_less_precision_have_a_way_back(impl):
    *qkv, q_pos, kv_pos = operands()

    def loss(q):
        return attend(q, *qkv[1:], q_pos, kv_pos, SpanPattern(), impl=impl, score=in_bfloat16).out_btnh.sum()

    assert jax.grad(loss)(qkv[0]).dtype == jnp.float32


@dataclass(frozen=True)
class Alibi(Variant):
    """A window under ALiBi."""

    name = "alibi"
    window: int

    def pattern(self):
        return SpanPattern((self.window,))

    def score(self, scores, q_pos, kv_pos, head):
        return alibi(scores, q_pos, kv_pos, head)


@pytest.mark.parametrize("check", [assert_matches_dense, assert_causal, assert_flops_agree])
def test_a_variant_with_scores_of_its_own_passes_what_all_have_to(check):
    check(Alibi(13))


def test_a_variant_s_scores_are_not_those_of_its_pattern():
    @dataclass(frozen=True)
    class Plain(Alibi):
        score = None

    with pytest.raises(AssertionError, match="is not dense attention"):
        assert_matches_dense(_Hidden(13))
    assert_matches_dense(Plain(13))


@dataclass(frozen=True)
class _Hidden(Alibi):
    """Runs with its scores, and says nothing of them."""

    score = None

    def attend(self, attend, layer):
        return super().attend(partial(attend, score=alibi), layer)


@pytest.mark.parametrize(
    ("impl", "pattern", "words"),
    [
        ("pallas", SpanPattern(), "pallas takes no function of scores, these do: dense, blockwise"),
        ("auto", BlockChoice(4, 5), "blocks are chosen by plain scores"),
        ("dense", BlockChoice(4, 5), "blocks are chosen by plain scores"),
        ("auto", ChosenTokens(4, np.zeros((1, T, 4), np.int32)), "keys are chosen by scores of their own"),
    ],
)
def test_who_takes_no_scores_says_so(impl, pattern, words):
    with pytest.raises(ValueError, match=words):
        attend(*operands(), pattern, impl=impl, score=capped)


def test_scores_of_another_shape_are_named():
    with pytest.raises(ValueError, match=r"score gave float32\[2, 6, 53\] for scores of the shape \[2, 6, 53, 197\]"):
        attend(*operands(), SpanPattern(), impl="dense", score=lambda scores, *_: scores.sum(-1))


def test_whoever_would_not_ask_for_scores_has_none():
    with pytest.raises(ValueError, match="Scored: nothing asks its score"):
        type("Scored", (Evict,), {"score": capped})
