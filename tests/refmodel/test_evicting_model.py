"""Layers that evict, in the whole model: one function however the prompt is cut, causal, and bounded in memory."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import refmodel.generate as decoding
from refmodel.cache import init_cache
from refmodel.generate import generate
from refmodel.model import prefill, step
from refmodel.sampling import Sampling
from tests.refmodel.uneven_keys import model

pytestmark = pytest.mark.usefixtures("fast_compile")

TOKENS, CHUNK = 53, 11
LAYOUTS = tuple(
    f"2*evict({policy},budget=17,chunk={CHUNK},sinks=2,recent=5)+swa(13)+full"
    for policy in ("knorm", "h2o", "snapkv", "pyramidkv")  # no state, state by slot, running state, budgets by layer
)
"""Every policy has the same properties shown of the layer alone, in tests/attention/eviction."""


def prompt(tokens: int = TOKENS) -> jax.Array:
    return jax.random.randint(jax.random.key(3), (2, tokens), 0, 257)


jitted_step = jax.jit(step, static_argnums=0, static_argnames="logits")


def in_steps(config, params, tokens_bt, cuts):
    cache = init_cache(config, *tokens_bt.shape)
    parts = []
    for i, j in zip([0, *cuts], [*cuts, tokens_bt.shape[1]], strict=True):
        logits, cache = jitted_step(config, params, cache, tokens_bt[:, i:j], logits="all")
        parts.append(logits)
    return jnp.concatenate(parts, axis=1), cache


@pytest.mark.parametrize(
    "layout", [LAYOUTS[0], *(pytest.param(layout, marks=pytest.mark.slow) for layout in LAYOUTS[1:])]
)
@settings(max_examples=1, phases=(Phase.explicit, Phase.generate))
@given(st.sets(st.sampled_from(range(CHUNK, TOKENS, CHUNK))), st.sampled_from(range(0, TOKENS - CHUNK, CHUNK)))
def test_chunks_and_decode_equal_one_shot(layout, multiples, chunk_start):
    """Steps end at multiples of the chunk, or inside one: a chunk is fed as 3 tokens, token by token, and the rest."""
    config, params = model(layout)
    whole, _ = in_steps(config, params, prompt(), ())
    inside = {chunk_start + i for i in (0, 3, 4, 5, CHUNK)}
    cuts = tuple(sorted((multiples | inside) - {0}))
    parts, cache = in_steps(config, params, prompt(), cuts)
    chex.assert_trees_all_close(parts, whole, atol=1e-5, rtol=1e-5)
    held = np.asarray(cache.runs[0].positions) >= 0
    assert held.sum(-1).max() <= 2 * 17 + TOKENS % CHUNK


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_future_does_not_reach_the_past(layout):
    config, params = model(layout)
    before, _ = in_steps(config, params, prompt(), ())
    after, _ = in_steps(config, params, prompt().at[:, 31].add(1), ())
    chex.assert_trees_all_equal(before[:, :31], after[:, :31])
    assert not np.allclose(before[:, 31], after[:, 31])


def test_a_budget_for_every_token_is_full_attention():
    config, params = model(f"evict(snapkv,budget={TOKENS},chunk={CHUNK},recent=5)")
    expected, _ = in_steps(config.with_layout("full"), params, prompt(), ())
    got, _ = in_steps(config, params, prompt(), ())
    chex.assert_trees_all_close(got, expected, atol=1e-5)
    less, _ = in_steps(config.with_layout(f"evict(snapkv,budget=19,chunk={CHUNK},recent=5)"), params, prompt(), ())
    assert not np.allclose(less[:, -1], expected[:, -1], atol=1e-4)


@pytest.mark.slow
def test_a_prompt_in_chunks_and_its_continuation():
    config, params = model(LAYOUTS[0])
    tokens = prompt()[:, : 4 * CHUNK]
    whole, _ = jax.jit(partial(prefill, config))(params, tokens)
    parts, _ = jax.jit(partial(prefill, config, chunk_tokens=2 * CHUNK))(params, tokens)
    chex.assert_trees_all_close(parts, whole, atol=1e-5)
    continued = generate(config, params, tokens, 2 * CHUNK)
    text = jnp.concatenate([tokens, continued], axis=1)
    logits, _ = in_steps(config, params, text, ())
    chex.assert_trees_all_equal(continued, logits[:, tokens.shape[1] - 1 : -1].argmax(-1))


def test_a_step_across_an_event_is_not_lost_in_silence():
    config, params = model(LAYOUTS[0])
    logits, _ = in_steps(config, params, prompt(), (CHUNK - 3,))
    assert jnp.isnan(logits[:, -1]).all()


def test_a_prompt_in_chunks_across_events_is_refused():
    config, params = model("full+evict(streaming,budget=8,chunk=8,sinks=0)")
    with pytest.raises(ValueError, match="5 tokens after 5, with chunk=8"):
        prefill(config, params, prompt(), chunk_tokens=5)
    with pytest.raises(ValueError, match="the prompt comes in one step, got 6"):
        prefill(config.with_layout("evict_after(knorm,budget=8)"), params, prompt(), chunk_tokens=10)
    with pytest.raises(
        ValueError, match=f"the prompt was to have {TOKENS} tokens in one step, got {TOKENS - 1}; evict takes"
    ):
        prefill(config.with_layout("evict_after(knorm,budget=8)"), params, prompt(), chunk_tokens=TOKENS - 1)


def test_what_was_fed_across_an_event_spoils_every_later_step():
    config, params = model("full+evict(streaming,budget=8,chunk=8,sinks=0)")
    logits, _ = in_steps(config, params, prompt(), (5, 10, 15))
    assert jnp.isnan(logits[:, -1]).all()


def test_rows_of_different_lengths_are_refused():
    config, _ = model(LAYOUTS[0])
    with pytest.raises(ValueError, match="rows of different lengths"):
        init_cache(config, 2, TOKENS, ragged=True)


SHARES = f"evict(knorm,budget={{}},chunk={CHUNK},sinks=2)+evict_after(h2o,budget={{}})+full"


def test_a_share_is_one_of_the_prompt_whatever_room_the_cache_has(monkeypatch):
    """Of 45 tokens 22 and 11 keys: the same programs, in one step, in chunks, and with 13 tokens behind them."""
    config, params = model(SHARES.format("0.5", "0.25"))
    fixed, tokens = config.with_layout(SHARES.format(22, 11)), prompt()[:, :45]
    in_chunks = [one.with_layout(str(one.layout[0])) for one in (config, fixed)]
    for both, chunk in (((config, fixed), None), (in_chunks, 2 * CHUNK)):
        share, keys = (
            jax.make_jaxpr(partial(prefill, one, capacity_tokens=58, chunk_tokens=chunk))(params, tokens)
            for one in both
        )
        assert str(share) == str(keys)
    assert config.at_length(58, 45) == fixed.at_length(58, 45) != config.at_length(58)
    monkeypatch.setattr(decoding, "_lots", lambda config, *_: config)
    ran = [decoding.decode(one, params, tokens, 13, Sampling()) for one in (config, fixed)]
    assert ran == [fixed.at_length(57, 45)] * 2
    cache = init_cache(fixed, *tokens.shape)
    with pytest.raises(ValueError, match=r"share of the prompt, whose length is not known: take it `at_length"):
        step(config, params, cache, tokens[:, :1])


@pytest.mark.slow
def test_a_share_runs_as_its_keys_do():
    config, params = model(SHARES.format("0.5", "0.25"))
    fixed, tokens = config.with_layout(SHARES.format(22, 11)), prompt()[:, :45]
    chex.assert_trees_all_equal(*(generate(one, params, tokens, 4) for one in (config, fixed)))
