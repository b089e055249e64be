"""Training steps: what the loss is, what a step changes, and that nothing is drawn; gradients of whole models."""

from __future__ import annotations

import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import refmodel
from attention.attend import attend
from attention.soft_routing import for_training, price, span_gates
from refmodel.model import prefill
from refmodel.observe import observe_routed
from refmodel.train import draw_batches, next_token_loss, only_leaves, train_state, train_step
from tests.compiling import AS_USERS_DO

pytestmark = pytest.mark.usefixtures("fast_compile")

LONG = pytest.param(2048, marks=pytest.mark.long)
MOE = pytest.param("tiny-moe", marks=pytest.mark.slow)


def tokens(batch: int, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 257, (batch, length)).astype(np.int32)


def test_the_loss_is_the_mean_over_what_has_a_next_token():
    model, ids = refmodel.load("tiny-dense", layout="swa(5)+full"), tokens(2, 13)
    ids[1, 7:] = -1
    logits, _ = jax.jit(partial(prefill, model.config, logits="all"))(model.params, np.maximum(ids, 0))
    log_btv = np.asarray(logits, np.float64)
    log_btv -= np.log(np.exp(log_btv).sum(-1, keepdims=True))
    nats = [-log_btv[row, t, ids[row, t + 1]] for row, length in ((0, 13), (1, 7)) for t in range(length - 1)]
    found = jax.jit(partial(next_token_loss, model.config))(model.params, ids)
    np.testing.assert_allclose(found, np.mean(nats), rtol=1e-5)


def test_a_step_changes_what_it_trains_and_is_the_same_again():
    model, ids = refmodel.load("tiny-dense"), tokens(3, 7)
    optimizer = only_leaves(optax.adam(1e-2), model.params, "*.attn.[qk]")
    runs = []
    for _ in range(2):
        state, losses = train_state(optimizer, model.params), []
        for _ in range(3):
            state, loss = train_step(model.config, optimizer, state, ids)
            losses.append(float(loss))
        runs.append((state.params, losses))
    chex.assert_trees_all_equal(*runs)
    (params, losses), _ = runs
    assert losses[2] < losses[1] < losses[0]
    changed = jax.tree.map(lambda x, y: bool((x != y).any()), params, model.params)
    names = {
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, is_other in jax.tree.leaves_with_path(changed)
        if is_other
    }
    assert names == {"blocks.dense.attn.q", "blocks.dense.attn.k"}
    held = sum(x.size for x in jax.tree.leaves(state.optimizer_state))
    trained = sum(model.params["blocks"]["dense"]["attn"][name].size for name in "qk")
    assert held == 2 * trained + 1  # two moments and a count


def test_batches_are_pieces_of_the_text_and_their_seeds():
    text = np.arange(101)
    drawn, again, other = (list(draw_batches(text, batch=3, tokens=7, steps=5, seed=seed)) for seed in (1, 1, 2))
    chex.assert_trees_all_equal(drawn, again)
    assert any((x != y).any() for x, y in zip(drawn, other, strict=True))
    pieces = np.concatenate(drawn)
    assert pieces.shape == (15, 7) and (np.diff(pieces) == 1).all()
    assert next(draw_batches(text, batch=999, tokens=100, steps=1, seed=0)).max() == 100  # the last token is drawn


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda model: next_token_loss(model.config, model.params, jnp.asarray(tokens(2, 1))),
            r"at least 2 a row, got int32\[2, 1\]",
        ),
        (lambda model: draw_batches(np.arange(6), batch=1, tokens=7, steps=1, seed=0), "pieces of 7 tokens"),
        (lambda model: draw_batches("text", batch=1, tokens=2, steps=1, seed=0), "tokens must be ids"),
        (
            lambda model: draw_batches(np.arange(6), batch=1, tokens=1, steps=1, seed=0),
            "tokens must be a whole",
        ),
        (
            lambda model: next_token_loss(model.config, model.params, [[3, 300]]),
            "token id 300 is not in",
        ),
        (lambda model: next_token_loss(model.config, model.params, [[-2, 3]]), "token id -2 is not in"),
        (
            lambda model: next_token_loss(model.config, model.params, [[-1, 3, 4]]),
            "stands before a token",
        ),
        (
            lambda model: train_step(model.config, optax.sgd(1), model.params, [[3, 4]]),
            "state: what train_state or a step gave is wanted",
        ),
        (lambda model: train_state(None, model.params), "optimizer: one of optax's is wanted, got None"),
        (lambda model: only_leaves(optax.sgd(1), model.params, 5), "pattern: a text is wanted, got 5"),
        (
            lambda model: train_state(optax.sgd(1), refmodel.load("tiny-dense", weights="fp8").params),
            "floating-point weights, got fp8",
        ),
        (lambda model: only_leaves(optax.sgd(1), model.params, "*.v_"), r"no leaf matches '\*.v_'; there are: blocks"),
        (
            lambda model: train_state(optax.sgd(1), {"attn": {"k": np.zeros(3, np.int8)}}),
            "floating-point weights, got int8 in attn.k: load them unpacked",
        ),
    ],
)
def test_what_cannot_be_trained_is_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call(refmodel.load("tiny-dense"))


@pytest.mark.parametrize("length", [*(pytest.param(n, marks=pytest.mark.slow) for n in (64, 512)), LONG])
@pytest.mark.parametrize("preset", ["tiny-dense", "tiny-moe"])
def test_gradients_of_a_model_are_those_of_dense_attention(preset, length):
    """With a window and full layers, by whatever path `auto` takes."""
    model = refmodel.load(preset, layout="swa(29,sinks=3)+full")

    def gradient(impl):
        loss = partial(next_token_loss, model.config, attend=partial(attend, impl=impl))
        return jax.jit(jax.grad(loss))(model.params, tokens(1, length))

    found, wanted = gradient("auto"), gradient("dense")
    scale = jax.tree.reduce(max, jax.tree.map(lambda x: float(jnp.abs(x).max()), wanted))
    chex.assert_trees_all_close(found, wanted, atol=1e-4 * scale, rtol=0)


@pytest.mark.parametrize("preset", [pytest.param("tiny-dense", marks=pytest.mark.long), MOE])
def test_memory_of_a_gradient_is_linear_in_the_prompt(preset):
    model = refmodel.load(preset, layout="swa(64,sinks=4)+full")

    def temp_bytes(length: int) -> int:
        shape = jax.ShapeDtypeStruct((1, length), jnp.int32)
        lowered = jax.jit(jax.grad(partial(next_token_loss, model.config))).lower(model.params, shape)
        return lowered.compile(AS_USERS_DO).memory_analysis().temp_size_in_bytes

    held = [temp_bytes(length) for length in (1024, 2048, 4096)]
    assert all(long <= 2.2 * short for short, long in itertools.pairwise(held)), held


@pytest.mark.slow
def test_routers_learn_alone_from_loss_and_price():
    """As docs/training.md has it: gates in place of the choice, and a price for looking far."""
    model = refmodel.load("tiny-dense", layout="routed(5|full)")
    config = model.config.with_layout(for_training(model.config.layout, "straight"))

    def loss(config, params, tokens_bt):
        prices = observe_routed(
            config, params, tokens_bt, lambda v, layer: price(v, span_gates(v, layer), layer.q_pos_bt)
        )
        return next_token_loss(config, params, tokens_bt) + sum(prices.values())

    optimizer = only_leaves(optax.adam(1e-2), model.params, "*.span_router_*")
    state, losses = train_state(optimizer, model.params), []
    for _ in range(5):
        state, value = train_step(config, optimizer, state, tokens(2, 67), loss=loss)
        losses.append(float(value))
    assert losses[-1] < losses[0]
    chex.assert_trees_all_equal(state.params["embed"], model.params["embed"])
