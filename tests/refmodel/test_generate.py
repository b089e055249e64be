"""Sampling against its definition: each token from softmax(logits / temperature), by a key of its own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import refmodel.generate as decoding
from refmodel.generate import generate
from refmodel.model import prefill
from refmodel.presets import preset
from refmodel.weights.random import random_params


@pytest.mark.parametrize("temperature", [0.5, 5.0])
def test_each_token_is_drawn_by_its_own_key(temperature, monkeypatch, fast_compile):
    monkeypatch.setattr(decoding, "TOKENS_A_CALL", 3)  # so that one call ends within
    config, prompt, new = preset("tiny-dense"), 5, 9
    params = random_params(config, 0, jnp.float32)
    ids = jax.random.randint(jax.random.key(1), (2, prompt), 0, config.vocab_size)
    found = generate(config, params, ids, new, temperature=temperature, seed=7)
    logits = jax.jit(lambda ids: prefill(config, params, ids, logits="all")[0])(jnp.concatenate([ids, found], axis=1))
    for key, token_b, logits_bv in zip(
        jax.random.split(jax.random.key(7), new), found.T, logits[:, prompt - 1 : -1].swapaxes(0, 1), strict=True
    ):
        np.testing.assert_array_equal(token_b, jax.random.categorical(key, logits_bv / temperature))
