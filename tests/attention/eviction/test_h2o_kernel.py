"""H2O on its kernel: the keys that it keeps without, a derivative, and which steps run it."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attend import attend
from attention.backends.dense import DENSE_SCORES_LIMIT
from attention.cost import ONLY_LAYER, Heads
from attention.evict import Evict
from attention.eviction import h2o
from attention.eviction.chunks import attend_in_chunks
from attention.eviction.policy import CachedKeys, CacheShape, Queries
from attention.kernels import pallas_key_mass
from attention.kernels.pallas_key_mass import NAME, key_mass_pallas
from attention.kernels.target import compiling_for
from attention.kernels.tiles import AttentionTiles
from eval.cost.flops.traced import count_flops
from tests.gpu import TRITON_IS_LEAVING
from tests.operands import on_device

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_off_gpu")]

EVICT = Evict(h2o.H2O(), budget=13, chunk=17, sinks=2, recent=3)


def heads(head_dim: int) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(0)
    return tuple(on_device(rng.normal(size=(2, 61, n, head_dim)), jnp.bfloat16) for n in (6, 2, 2))


def new_layer():
    """A function of its own each time, of which jax has no trace yet."""

    def layer(q, k, v):
        b, t, n, h = q.shape
        kept = EVICT.init_state(Heads(n, k.shape[2], h), b, t, q.dtype)
        dense = partial(attend, impl="dense")
        return attend_in_chunks(EVICT, dense, kept, q, k, v, jnp.arange(t)[None], 0, ONLY_LAYER)

    return layer


@pytest.fixture
def on_the_kernel(monkeypatch: pytest.MonkeyPatch):
    """H2O as on a GPU, its kernel interpreted, however small the step."""
    tiles = AttentionTiles(16, 16, 4, 1)
    monkeypatch.setattr(pallas_key_mass, "key_mass_pallas", partial(key_mass_pallas, tiles=tiles, interpret=True))
    monkeypatch.setattr(h2o, "current_target", lambda: "sm_90")
    monkeypatch.setattr(h2o, "DENSE_SCORES_LIMIT", 0)


def test_the_same_keys_stay(request):
    qkv = heads(16)
    out, kept = jax.jit(new_layer())(*qkv)
    request.getfixturevalue("on_the_kernel")
    assert NAME in count_flops(new_layer(), *qkv).kernels
    out_kernel, kept_kernel = jax.jit(new_layer())(*qkv)
    chex.assert_trees_all_equal((out_kernel, kept_kernel.positions), (out, kept.positions))
    chex.assert_trees_all_close(kept_kernel.state, kept.state, atol=1e-5)


def test_a_layer_on_the_kernel_has_a_derivative(request):
    qkv = heads(16)

    def gradients():
        layer = new_layer()
        return jax.grad(lambda *x: jnp.sin(layer(*x)[0].out_btnh.astype(jnp.float32)).sum(), argnums=(0, 1, 2))

    scanned = jax.jit(gradients())(*qkv)
    request.getfixturevalue("on_the_kernel")
    assert NAME in count_flops(gradients(), *qkv).kernels
    chex.assert_trees_all_equal(jax.jit(gradients())(*qkv), scanned)
    assert all(np.linalg.norm(np.float32(x)) > 1 for x in scanned)


@pytest.mark.parametrize(("target", "tokens", "head_dim", "dtype", "expected"), [
    ("sm_90", 257, 64, "bfloat16", True), ("gfx1201", 257, 128, "float16", True), ("sm_90", 1, 64, "bfloat16", False),
    ("sm_90", 257, 24, "bfloat16", False), ("sm_90", 257, 64, "float32", False),
])  # fmt: skip
def test_which_steps_run_the_kernel(target, tokens, head_dim, dtype, expected):
    slots = DENSE_SCORES_LIMIT // 256
    policy = EVICT.policy
    shape = CacheShape(1, slots, 4, 2, head_dim, EVICT.retention)

    def observe(q, k, lse):
        slot_s, token_t = jnp.arange(slots), jnp.arange(tokens)
        valid = slot_s[None, None] >= 0
        held = CachedKeys(k, k, slot_s[None, None], valid, slot_s, slots, slots, 0, None, EVICT.retention)
        queries = Queries(q, token_t, token_t, lse, True)
        return policy.observe(policy.init_state(shape, jnp.float32), queries, held)

    q, k = (jax.ShapeDtypeStruct((1, length, n, head_dim), dtype) for length, n in ((tokens, 4), (slots, 2)))
    with compiling_for(target):
        counted = count_flops(observe, q, k, jax.ShapeDtypeStruct((1, 4, tokens), jnp.float32))
    assert (NAME in counted.kernels) == expected
