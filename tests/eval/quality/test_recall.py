"""Associative recall: what a text asks for, what is counted, and how far a window can reach."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.bench.recall import MODEL
from eval.quality import recall
from eval.quality.recall import FILLER, KEYS, MOST_TOKENS, VALUES, draw_recall, first_asked, recall_batches
from refmodel.weights.random import random_params


@given(st.integers(1, 5), st.integers(8, 97), st.integers(0, 7))
def test_a_text_asks_each_of_its_keys_once_and_answers_with_what_stood_behind_it(batch, tokens, seed):
    drawn = draw_recall(batch=batch, tokens=tokens, seed=seed)
    pairs, first, asked = tokens // 8, first_asked(tokens), max(1, tokens // 16)
    assert first == tokens - 2 * asked
    for text, places, distances in zip(drawn.tokens_bt, drawn.key_bp, drawn.distance_bp, strict=True):
        assert text.shape == (tokens,) and len(set(places)) == asked
        is_key = (text >= FILLER) & (text < FILLER + KEYS)
        there = np.flatnonzero(is_key[:first])
        assert set(places) <= set(there) and len(there) == len(set(text[there])) == pairs
        assert is_key[first::2].all() and not is_key[first + 1 :: 2].any()
        assert (text[first::2] == text[places]).all() and (text[first + 1 :: 2] == text[places + 1]).all()
        assert ((text[first + 1 :: 2] >= FILLER + KEYS) & (text[first + 1 :: 2] < FILLER + KEYS + VALUES)).all()
        assert (text[:first] >= FILLER + KEYS).sum() == pairs and (text[there + 1] >= FILLER + KEYS).all()
        assert distances.tolist() == [first + 2 * i - place - 1 for i, place in enumerate(places)]


def test_pairs_stand_anywhere_and_keys_values_and_questions_in_any_order():
    drawn = draw_recall(batch=997, tokens=37, seed=0)  # four pairs within 37 - 4 = 33 places, two questions
    assert set(drawn.key_bp.ravel()) == set(range(32))
    assert set(drawn.tokens_bt[:, :33].ravel()) == set(range(FILLER + KEYS + VALUES))
    assert 0.4 < (drawn.key_bp[:, 0] < drawn.key_bp[:, 1]).mean() < 0.6


def test_the_same_seed_draws_the_same_and_another_another():
    first, again, other = (draw_recall(batch=3, tokens=29, seed=seed).tokens_bt for seed in (5, 5, 7))
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize("tokens", [7, MOST_TOKENS + 1, 8.0])
def test_texts_that_there_are_not(tokens):
    with pytest.raises(ValueError, match="tokens must be"):
        draw_recall(batch=1, tokens=tokens, seed=0)


def test_batches_grow_to_the_longest_text_and_are_of_as_many_tokens():
    shapes = [tokens_bt.shape for tokens_bt in recall_batches(tokens=97, batch_tokens=200, steps=21, seed=0)]
    short, middle, long = (6, 32), (3, 64), (2, 97)
    assert shapes == [short] * 13 + [middle, short, middle, short] + [long, short, middle, long]  # 12.6 of 21, 4.2 each
    assert [x.shape for x in recall_batches(tokens=11, batch_tokens=5, steps=2, seed=0)] == [(1, 11)] * 2
    first, second = recall_batches(tokens=11, batch_tokens=99, steps=2, seed=0)
    assert (first != second).any()


def test_loss_and_answers_are_those_of_the_logits_at_the_questions(fast_compile):
    config = MODEL.with_layout("swa(5)+3*full")
    params, drawn = random_params(config, 0, jnp.float32), draw_recall(batch=3, tokens=31, seed=1)
    from refmodel.model import prefill

    logits_btv, _ = prefill(config, params, jnp.asarray(drawn.tokens_bt), logits="all")
    log_btv = np.asarray(jax.nn.log_softmax(logits_btv), np.float64)
    first, rows = first_asked(31), np.arange(3)[:, None]
    places = np.arange(first, 31, 2)[None]
    values_bp = drawn.tokens_bt[rows, drawn.key_bp + 1]
    loss = recall.recall_loss(config, params, jnp.asarray(drawn.tokens_bt))
    np.testing.assert_allclose(loss, -log_btv[rows, places, values_bp].mean(), rtol=1e-5)
    right_bp = recall.is_recalled(config, params, jnp.asarray(drawn.tokens_bt))
    assert (np.asarray(right_bp) == (log_btv[rows, places].argmax(-1) == values_bp)).all()


def test_what_comes_back_is_counted_by_where_it_stood(monkeypatch):
    drawn = draw_recall(batch=13, tokens=53, seed=(3, 53))
    right_bp = np.random.default_rng(0).random(drawn.key_bp.shape) < 0.5
    monkeypatch.setattr(recall, "is_recalled", lambda config, params, tokens_bt: jnp.asarray(right_bp))
    found = recall.recalled(MODEL, None, tokens=53, texts=13, stretches=5, seed=3)
    room = first_asked(53) - 1  # places of a key
    asked, right = ([0] * 5, [0] * 5)
    for place, is_right in zip(drawn.key_bp.ravel(), right_bp.ravel(), strict=True):
        stretch = next(i for i in range(5) if place < (i + 1) * room / 5)
        asked[stretch] += 1
        right[stretch] += int(is_right)
    assert (found.tokens, found.asked, found.right) == (53, tuple(asked), tuple(right))
    assert found.share == pytest.approx(right_bp.mean())


def test_a_window_cannot_reach_beyond_its_keys_times_the_layers(fast_compile):
    """What a question reads of a text is the same whatever stands further back than 4 layers of 7 earlier keys."""
    config = MODEL.with_layout("swa(8)")
    params, drawn = random_params(config, 0, jnp.float32), draw_recall(batch=2, tokens=61, seed=1).tokens_bt
    first, reach = first_asked(61), 4 * 7
    for changed, differs in ((first - reach - 1, False), (first - reach, True)):
        other = drawn.copy()
        other[:, changed] = (other[:, changed] + 1) % FILLER
        one, two = (recall._asked_logits(config, params, jnp.asarray(text)) for text in (drawn, other))
        assert bool((one[:, 0] != two[:, 0]).any()) is differs
