"""Decode, gradients and saving on a GPU, against a CPU in float32: `pytest -m gpu` on a machine with one."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import keystr, tree_leaves_with_path

import refmodel
from refmodel.model import prefill, step
from refmodel.saving.save import save
from refmodel.train import next_token_loss
from refmodel.weights.random import random_params
from tests.gpu import TRITON_IS_LEAVING, close
from tests.refmodel.test_gpu_model import CONFIG, LAYOUTS, SURE, divergence

pytestmark = [TRITON_IS_LEAVING, pytest.mark.gpu]

PROMPT, STEPS = 701, 37
BATCH = 2
DIFFERENTIATED = ("full", "swa(124,sinks=4)", "moba(128,topk=2)", "evict(keydiff,budget=128,chunk=256)")


def on(platform: str, tree, dtype=None):
    """The tree on a device of the platform; its numbers in `dtype`."""
    device = jax.devices(platform)[0]
    floats = [x.astype(dtype) if dtype and jnp.issubdtype(x.dtype, jnp.floating) else x for x in jax.tree.leaves(tree)]
    return jax.device_put(jax.tree.unflatten(jax.tree.structure(tree), floats), device)


def drawn(layout: str):
    """Parameters in bfloat16 and tokens, on the CPU."""
    with jax.default_device(jax.devices("cpu")[0]):
        params = random_params(CONFIG.with_layout(layout), 0, jnp.bfloat16)
        params["embed"]["embedding"] *= SURE
        return params, jax.random.randint(jax.random.key(1), (BATCH, PROMPT + STEPS), 0, CONFIG.vocab_size)


def decoded(platform: str, layout: str, params, tokens_bt, dtype) -> np.ndarray:
    """Logits [B, STEPS, V] of one step a token after the prompt."""
    config, params, tokens_bt = CONFIG.with_layout(layout), on(platform, params, dtype), on(platform, tokens_bt)

    @jax.jit
    def run(params, tokens_bt):
        _, cache = prefill(config, params, tokens_bt[:, :PROMPT], capacity_tokens=PROMPT + STEPS)

        def one(cache, token_b):
            logits_bv, cache = step(config, params, cache, token_b[:, None])
            return cache, logits_bv

        return jax.lax.scan(one, cache, tokens_bt[:, PROMPT:].T)[1]

    with jax.default_device(jax.devices(platform)[0]):
        return np.asarray(run(params, tokens_bt), np.float64).swapaxes(0, 1)


@pytest.mark.parametrize("layout", [*LAYOUTS, "evict_after(adakv,budget=128)", "evict_after(pyramidkv,budget=128)"])
def test_decode_in_bfloat16_on_a_gpu_is_float32_on_a_cpu(layout):
    params, tokens_bt = drawn(layout)
    found, again = (decoded("gpu", layout, params, tokens_bt, jnp.bfloat16) for _ in range(2))
    np.testing.assert_array_equal(found, again)
    kl, top1 = divergence(decoded("cpu", layout, params, tokens_bt, jnp.float32), found)
    other = "full" if layout != "full" else "swa(128)"
    kl_of_another, _ = divergence(decoded("cpu", other, params, tokens_bt, jnp.float32), found)
    print(f"{layout}: KL {kl:.2e} nats, top-1 {top1:.4f}; from {other} KL {kl_of_another:.2e}")
    assert kl < 1e-3 and kl < kl_of_another / 2
    assert top1 >= 0.95  # of 74 tokens: three near draws


@pytest.mark.parametrize(
    "layout", ["full", "swa(124,sinks=4)", "moba(128,topk=2)", "evict(keydiff,budget=128,chunk=256)"]
)
def test_gradients_on_a_gpu_are_those_of_a_cpu(layout):
    """In float32, whose products a GPU may do in tf32: to a hundredth of each leaf, the least leaves apart."""
    config = CONFIG.with_layout(layout)
    params, tokens_bt = drawn(layout)
    gradient = jax.jit(jax.grad(next_token_loss, argnums=1), static_argnums=0)

    def leaves(platform: str):
        with jax.default_device(jax.devices(platform)[0]), jax.default_matmul_precision("highest"):
            tree = gradient(config, on(platform, params, jnp.float32), on(platform, tokens_bt))
        return [(keystr(path), np.asarray(leaf)) for path, leaf in tree_leaves_with_path(tree)]

    exact, found = leaves("cpu"), leaves("gpu")
    largest = max(np.linalg.norm(leaf) for _, leaf in exact)
    told = {path: np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-3 * largest)
            for (path, want), (_, got) in zip(exact, found, strict=True)}  # fmt: skip
    worst = max(told, key=told.__getitem__)
    print(f"{layout}: worst {worst} {told[worst]:.2e}")
    assert all(np.isfinite(leaf).all() for _, leaf in found)
    assert told[worst] <= 1e-2


def test_what_is_saved_from_a_gpu_is_read_on_a_cpu(tmp_path):
    params, _ = drawn("swa(128)+full")
    save(tmp_path / "model", CONFIG.with_layout("swa(128)+full"), on("gpu", params))
    with jax.default_device(jax.devices("cpu")[0]):
        model = refmodel.load(str(tmp_path / "model"), dtype="bfloat16")
    chex.assert_trees_all_equal(jax.device_get(model.params), jax.device_get(params))


def test_a_prefill_repeats_itself_bit_for_bit():
    params, tokens_bt = drawn("swa(128)+full")
    config, params, tokens_bt = CONFIG.with_layout("swa(128)+full"), on("gpu", params), on("gpu", tokens_bt)
    run = jax.jit(lambda params, tokens_bt: prefill(config, params, tokens_bt, logits="all")[0])
    first = run(params, tokens_bt)
    assert close(first, first, 0.0)  # no NaN
    for _ in range(5):
        chex.assert_trees_all_equal(run(params, tokens_bt), first)
