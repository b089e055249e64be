"""The step function against itself: any way of cutting a prompt into steps gives the same logits."""

from __future__ import annotations

import functools
import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from attention.attend import attend
from refmodel import generate as decoding
from refmodel.cache import cache_bytes, init_cache
from refmodel.generate import generate
from refmodel.model import hidden_states, prefill, step, unembed
from refmodel.plan import layer_plan
from refmodel.presets import RUNNING, preset
from refmodel.tree import abstract_params
from refmodel.weights.random import random_params

pytestmark = pytest.mark.usefixtures("fast_compile")

TOKENS = 53
LAYOUTS = (
    "full", "swa(13)", "swa(7,sinks=2)+full", "3*swa(5)+full", "swa(1)", "swa(11,sinks=17)+2*full+swa(3)",
    "routed(5|full)", "routed(3|19,sinks=1,per=group,router=keynorm,threshold=4)+spans(5|full,sinks=2)",
    "moba(7,topk=2)+routed(3|9|full,per=head,router=random,seed=1)", "msa(5,topk=3,dim=6)+swa(7)",
    "dsa(7,heads=3,dim=6)+full", "qsa(6,pool=3,heads=2,dim=6)+full",
    "blocks(block=5,topk=3,sinks=1,window=1)+blocks(causal_antidiagonal,6,topk=3,stride=3,mean=true)",
)  # fmt: skip
jitted_step = jax.jit(step, static_argnums=0, static_argnames=("logits", "attend"))
jitted_prefill = jax.jit(prefill, static_argnums=0, static_argnames="logits")
ATTEND = {impl: partial(attend, impl=impl) for impl in ("dense", "blockwise")}  # `auto` takes the oracle at this size


@functools.cache
def model(name: str, layout: str):
    """Norms of keys differ without qk_norm only."""
    config = preset(name).with_each_layer(qk_norm="keynorm" not in layout).with_layout(layout)
    return config, random_params(config, 7, jnp.float32)


def prompt(batch: int = 2, tokens: int = TOKENS) -> jax.Array:
    return jax.random.randint(jax.random.key(3), (batch, tokens), 0, 257)


def in_steps(config, params, tokens_bt, cuts, capacity=None, impl="blockwise"):
    cache = init_cache(config, tokens_bt.shape[0], capacity or tokens_bt.shape[1])
    parts = []
    for i, j in zip([0, *cuts], [*cuts, tokens_bt.shape[1]], strict=True):
        logits, cache = jitted_step(config, params, cache, tokens_bt[:, i:j], logits="all", attend=ATTEND[impl])
        parts.append(logits)
    return jnp.concatenate(parts, axis=1), cache


@pytest.mark.parametrize(("layout", "name"), [*zip(LAYOUTS, itertools.cycle(("tiny-dense", "tiny-moe")), strict=False)])
@settings(max_examples=1, phases=(Phase.explicit, Phase.generate))
@given(st.data())
def test_chunked_prefill_and_decode_equal_one_shot(name, layout, data):
    config, params = model(name, layout)
    cuts = sorted(data.draw(st.sets(st.integers(1, TOKENS - 1), max_size=4)))
    whole, _ = in_steps(config, params, prompt(), [], impl="dense")
    parts, cache = in_steps(config, params, prompt(), cuts, capacity=TOKENS + data.draw(st.integers(0, 9)))
    chex.assert_trees_all_close(parts, whole, atol=1e-5, rtol=1e-5)
    assert int(cache.length) == TOKENS


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_future_does_not_reach_the_past(layout):
    config, params = model("tiny-moe", layout)
    tokens = prompt(1)
    before, _ = in_steps(config, params, tokens, [])
    after, _ = in_steps(config, params, tokens.at[:, 31].add(1), [])
    chex.assert_trees_all_equal(before[:, :31], after[:, :31])
    assert not np.allclose(before[:, 31], after[:, 31])


def test_a_window_as_long_as_the_prompt_is_full_attention():
    config, params = model("tiny-dense", "full")
    whole, _ = in_steps(config, params, prompt(), [])
    windowed, _ = in_steps(config.with_layout(f"swa({TOKENS})"), params, prompt(), [])
    shorter, _ = in_steps(config.with_layout(f"swa({TOKENS - 1})"), params, prompt(), [])
    chex.assert_trees_all_close(windowed, whole, atol=1e-5)
    assert not np.allclose(shorter[:, -1], whole[:, -1], atol=1e-4)


RAGGED = pytest.mark.parametrize(
    "layout",
    [
        "swa(7,sinks=2)+full", "msa(5,topk=3,dim=6)", "dsa(7,heads=3,dim=6)", "qsa(6,pool=3,dim=6)",
        "blocks(causal_antidiagonal,6,topk=3,stride=3,mean=true)",
    ],
)  # fmt: skip


@RAGGED
def test_rows_of_different_lengths_in_one_batch(layout):
    """A padded row gives what it gives alone; padding has position -1 and is seen by nobody."""
    config, params = model("tiny-dense", layout)
    short = 31
    alone, _ = in_steps(config, params, prompt(1)[:, :short], [])
    positions = jnp.arange(TOKENS)[None].repeat(2, 0).at[0, short:].set(-1)
    cache = init_cache(config, 2, TOKENS, ragged=True)
    together, _ = jitted_step(config, params, cache, prompt(1).repeat(2, 0), logits="all", positions_bt=positions)
    chex.assert_trees_all_close(together[0, :short], alone[0], atol=1e-5)
    last, _ = jitted_step(config, params, cache, prompt(1).repeat(2, 0), positions_bt=positions)
    chex.assert_trees_all_close(last, jnp.stack([together[0, short - 1], together[1, -1]]), atol=1e-5)


@RAGGED
def test_a_padded_row_goes_on_where_it_ended(layout):
    """Decoding after a ragged prefill equals feeding the row alone; its positions cannot be guessed."""
    config, params = model("tiny-dense", layout)
    short, tokens = 31, prompt(1)
    alone, _ = in_steps(config, params, tokens[:, : short + 1], [])
    cache = init_cache(config, 2, TOKENS + 1, ragged=True)
    positions = jnp.arange(TOKENS)[None].repeat(2, 0).at[0, short:].set(-1)
    _, cache = jitted_step(config, params, cache, tokens.repeat(2, 0), positions_bt=positions)
    after = jnp.asarray([[short], [TOKENS]])
    logits, _ = jitted_step(config, params, cache, tokens[:, [short]].repeat(2, 0), positions_bt=after)
    chex.assert_trees_all_close(logits[0], alone[0, short], atol=1e-5)
    with pytest.raises(ValueError, match="give positions_bt"):
        step(config, params, cache, tokens[:, :1].repeat(2, 0))


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["full", "swa(97,sinks=3)+full"])
def test_auto_at_a_length_where_it_takes_the_blockwise_path(layout):
    config, params = model("tiny-dense", layout)
    tokens = prompt(1, 331)
    whole, _ = in_steps(config, params, tokens, [], impl="dense")
    last, _ = jax.jit(partial(prefill, config))(params, tokens)
    chex.assert_trees_all_close(last, whole[:, -1], atol=1e-5)
    parts, _ = in_steps(config, params, tokens, [257, 330])
    chex.assert_trees_all_close(parts, whole, atol=1e-5)


def test_a_bfloat16_model_keeps_its_dtype_and_its_best_guesses():
    config, params = model("tiny-moe", "swa(13)+full")
    exact, _ = in_steps(config, params, prompt(), [])
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    logits, cache = jitted_prefill(config, half, prompt(), logits="all")
    assert logits.dtype == jnp.float32 and {run.keys.dtype for run in cache.runs} == {jnp.dtype(jnp.bfloat16)}
    agrees = logits.argmax(-1) == exact.argmax(-1)
    assert agrees.mean() > 0.8
    assert np.abs(logits - exact).mean() < 0.1 * np.abs(exact).mean()


def test_positions_per_row_need_a_ragged_cache():
    config, params = model("tiny-dense", "full")
    with pytest.raises(ValueError, match="per row only with a ragged cache"):
        step(config, params, init_cache(config, 2, 5), prompt(2, 5), positions_bt=jnp.zeros((2, 5), int))


def test_a_full_cache_never_loses_tokens_silently():
    config, params = model("tiny-dense", "swa(3)+full")
    logits, cache = jitted_step(config, params, init_cache(config, 1, 5), prompt(1, 5))
    assert np.isfinite(logits).all()
    logits, _ = jitted_step(config, params, cache, prompt(1, 1))
    assert np.isnan(logits).all()


@pytest.mark.parametrize(
    "layout",
    ["swa(3)+full", "evict_after(knorm,budget=3,sinks=0)", "evict(knorm,budget=3,chunk=7,sinks=0)"],
)
def test_a_full_cache_is_refused_in_words_outside_of_jit(layout):
    config, params = model("tiny-dense", layout)
    _, cache = jitted_prefill(config, params, prompt(1, 5))
    with pytest.raises(ValueError, match="room for 5 tokens, 5 went in and 1 are to follow: make it with"):
        step(config, params, cache, prompt(1, 1))


def test_last_logits_are_the_last_of_all():
    config, params = model("tiny-moe", "full")
    every, _ = jitted_prefill(config, params, prompt(), logits="all")
    last, _ = jitted_prefill(config, params, prompt())
    chex.assert_trees_all_close(last, every[:, -1], atol=1e-6)


def test_hidden_states_of_every_layer():
    config, params = model("tiny-dense", "swa(5)+full")
    run = jax.jit(partial(hidden_states, config, every_layer=True))
    out = run(params, init_cache(config, 2, TOKENS), prompt())
    chex.assert_shape(out.layers_lbtd, (config.n_layers, 2, TOKENS, config.d_model))
    logits, _ = jitted_prefill(config, params, prompt(), logits="all")
    chex.assert_trees_all_close(unembed(config, params, out.final_btd), logits, atol=1e-5)


def test_a_windowed_cache_is_as_small_as_its_window():
    config = preset("tiny-dense").with_layout("3*swa(7,sinks=2)+full")
    cache = init_cache(config, 2, 1000)
    per_slot_bytes = 2 * 2 * config.n_kv_heads * config.head_dim * 4
    assert cache_bytes(config, cache) == (3 * (7 - 1 + 2) + 1000) * per_slot_bytes


@pytest.mark.parametrize("name", ["tiny-dense", "tiny-moe"])
def test_gradients_are_finite_and_reach_every_parameter(name):
    config, params = model(name, "full")

    def loss(params):
        logits, _ = prefill(config, params, prompt(1, 11), logits="all")
        return jax.nn.logsumexp(logits, axis=-1).mean()

    for path, leaf in jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(params)):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


@pytest.mark.parametrize("layout", ["full", "swa(5,sinks=2)+full"])
def test_greedy_generation_is_prefill_repeated(layout, monkeypatch):
    config, params = model("tiny-moe", layout)
    tokens = prompt(2, 11)
    expected = jnp.pad(tokens, [(0, 0), (0, 3)])  # of one length, since the future does not reach the past
    for at in range(11, 14):
        logits, _ = jitted_prefill(config, params, expected, logits="all")
        expected = expected.at[:, at].set(logits[:, at - 1].argmax(-1))
    np.testing.assert_array_equal(generate(config, params, tokens, 3), expected[:, 11:])
    monkeypatch.setattr(decoding, "TOKENS_A_CALL", 1)
    np.testing.assert_array_equal(generate(config, params, tokens, 3), expected[:, 11:])


def test_sampling_repeats_with_its_seed_and_stops(monkeypatch):
    config, params = model("tiny-dense", "full")

    def draw(**options):
        return np.asarray(generate(config, params, prompt(1, 5), 17, temperature=5.0, **options))

    np.testing.assert_array_equal(draw(seed=1), draw(seed=1))
    assert (draw(seed=1) != draw(seed=2)).any()
    stop = draw(seed=1)[0, 3]
    until = int((draw(seed=1)[0] == stop).argmax())
    stopped = draw(seed=1, stop_tokens=[int(stop)])
    assert (stopped[0, until:] == stop).all() and (stopped[0, :until] == draw(seed=1)[0, :until]).all()
    free = draw(seed=1)[0]
    several = draw(seed=1, stop_tokens=[256, int(free[9]), int(stop)])[0]  # each ends a row, which then repeats it
    first = int(np.isin(free, [256, free[9], stop]).argmax())
    assert (several[first:] == free[first]).all() and (several[:first] == free[:first]).all()
    calls, decode = [], decoding._decode
    monkeypatch.setattr(decoding, "TOKENS_A_CALL", 4)
    monkeypatch.setattr(decoding, "_decode", lambda *args: calls.append(1) or decode(*args))
    np.testing.assert_array_equal(draw(seed=1, stop_tokens=[int(stop)]), stopped)
    assert len(calls) == (until + 3) // 4  # nothing is decoded behind the stop but the rest of its call
    with pytest.raises(ValueError, match="new_tokens must be a whole number of at least 1, got 0"):
        generate(config, params, prompt(1, 5), 0)


def test_qwen3_30b_a3b_has_its_published_size():
    leaves = jax.tree.leaves(abstract_params(preset("qwen3-30b-a3b")))
    assert sum(leaf.size for leaf in leaves) == 30_532_122_624


@pytest.mark.parametrize("layout", ["full", "5*swa(1024)+full"])
def test_the_whole_30b_prefill_is_traced_on_a_laptop(layout):
    config = preset("qwen3-30b-a3b").with_layout(layout)
    shapes = abstract_params(config, jnp.bfloat16), jax.ShapeDtypeStruct((1, 65_536), jnp.int32)
    logits, cache = jax.eval_shape(lambda params, tokens: prefill(config, params, tokens), *shapes)
    assert logits.shape == (1, 151_936)
    full_layers = sum(str(variant) == "full" for variant in config.layout)
    assert cache.runs[-1].keys.shape == (full_layers, 1, 65_536, 4, 128)


@pytest.mark.parametrize("name", RUNNING)
def test_every_preset_is_built_and_planned(name):
    config = preset(name)
    plan = layer_plan(config)
    assert sum(plan.layers) == config.n_layers
    assert abstract_params(config)["embed"]["embedding"].shape == (config.vocab_size, config.d_model)
