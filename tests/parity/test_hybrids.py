"""Hybrids at lengths on either side of a chunk of 64 tokens, each as transformers computes that length alone."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from refmodel.cache import init_cache
from refmodel.model import hidden_states, unembed
from tests.checkpoints import load
from tests.golden.make_golden import build, compute

TOLERANCE = 1e-4
pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.mark.parametrize("case", ["qwen3-next", "qwen3-next-dense", "qwen3-5-moe", "qwen3-5-moe-tied"])
def test_every_length(case, tmp_path):
    model = build(case, 107)
    model.save_pretrained(tmp_path)
    config, params = load(tmp_path, jnp.float32)

    @partial(jax.jit, static_argnames="config")
    def run(config, params, tokens_bt):
        cache = init_cache(config, *tokens_bt.shape)
        hidden = hidden_states(config, params, cache, tokens_bt, first=True, every_layer=True)
        return unembed(config, params, hidden.final_btd), hidden.layers_lbtd

    for tokens in (1, 63, 64, 65, 257):
        expected = compute(model, tokens, tokens)
        logits, layers = run(config, params, expected["tokens"])
        assert np.abs(layers - expected["layers"]).max() < TOLERANCE, tokens
        assert np.abs(logits - expected["logits"]).max() < TOLERANCE, tokens
