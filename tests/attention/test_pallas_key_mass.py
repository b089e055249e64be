"""The Pallas-Triton kernel that sums probabilities by key, against a dense oracle; interpreted on a CPU.

On a GPU: `pytest -m gpu tests/attention/test_pallas_key_mass.py`.
"""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.eviction import h2o
from attention.kernels import pallas_key_mass
from attention.kernels.pallas_key_mass import NAME, key_mass_pallas
from attention.kernels.target import compiling_for, current_target
from attention.kernels.tiles import KEY_MASS, AttentionTiles, key_mass_tiles
from eval.cost.flops.jaxprs import open_jaxpr
from eval.cost.flops.products import PRODUCTS
from eval.cost.flops.traced import count_flops
from tests.gpu import TRITON_IS_LEAVING, absent_gpu, close
from tests.operands import on_device

pytestmark = [TRITON_IS_LEAVING, pytest.mark.usefixtures("fast_off_gpu")]

SHAPES = {  # (B, T, S, K, G, H), tiles
    "few rows": ((2, 11, 83, 2, 3, 16), AttentionTiles(16, 32, 4, 1)),
    "few keys": ((1, 37, 13, 3, 2, 32), AttentionTiles(32, 16, 4, 1)),
    "one head each": ((2, 41, 53, 2, 1, 16), AttentionTiles(16, 16, 4, 1)),
    "whole tiles": ((1, 16, 64, 1, 4, 16), AttentionTiles(32, 32, 4, 1)),
}
LARGE = {
    "group of 8": (1, 1531, 2111, 4, 8, 128),
    "odd group": (2, 700, 1201, 2, 5, 64),
    "large heads": (1, 519, 1024, 1, 2, 256),
}


@jax.jit
def scores_of(q, keys) -> jax.Array:
    """[B, K, G, T, S], in float32."""
    (b, t, _, h), k = q.shape, keys.shape[2]
    q, keys = q.astype(jnp.float32), keys.astype(jnp.float32)
    return jnp.einsum("btkgh,bskh->bkgts", q.reshape(b, t, k, -1, h), keys, precision="highest") / h**0.5


def draw_operands(shape, seed: int, dtype=jnp.float32) -> tuple[jax.Array, ...]:
    """q, k, lse, slot and valid: some queries see nothing, as their lse says in either way; some slots are empty."""
    b, t, s, k, g, h = shape
    rng = np.random.default_rng(seed)
    q, keys = (on_device(rng.normal(size=size), dtype) for size in ((b, t, k * g, h), (b, s, k, h)))
    lse = np.asarray(jax.nn.logsumexp(scores_of(q, keys), axis=-1)).reshape(b, k * g, t)
    blind = rng.random(lse.shape)
    lse = np.where(blind < 0.1, np.inf, np.where(blind > 0.9, -np.inf, lse))
    slot = int(rng.integers(-t, s)) + np.arange(t)
    valid = rng.random((rng.choice((1, b)), rng.choice((1, k)), s)) < rng.choice((0.3, 1.0))
    return q, keys, jnp.asarray(lse), jnp.asarray(slot, jnp.int32), jnp.asarray(valid)


@jax.jit
def oracle(q, keys, lse, slot, valid) -> jax.Array:
    """All probabilities at once, in float32."""
    (b, t), (s, k) = q.shape[:2], keys.shape[1:3]
    lse = lse.reshape(b, k, -1, t, 1)
    seen = jnp.isfinite(lse) & valid[:, :, None, None] & (jnp.arange(s) <= slot[:, None])
    return jnp.where(seen, jnp.exp(scores_of(q, keys) - lse), 0).sum((2, 3))


run = partial(jax.jit, static_argnames=("tiles", "interpret"))(key_mass_pallas)


@pytest.mark.parametrize("programs", [1, 7, 36])
@pytest.mark.parametrize("name", SHAPES)
def test_interpreted_kernel_is_the_oracle(name, programs, monkeypatch):
    """Unwritten outputs of an interpreted kernel are NaN, so that every element is seen to be written."""
    shape, tiles = SHAPES[name]
    monkeypatch.setattr(pallas_key_mass, "PROGRAMS", programs)
    kernel = jax.jit(partial(key_mass_pallas, tiles=tiles, interpret=True))

    @settings(max_examples=6)
    @given(st.integers(0, 2**32 - 1))
    def check(seed):
        operands = draw_operands(shape, seed)
        mass = kernel(*operands)
        chex.assert_shape(mass, (shape[0], shape[3], shape[2]))
        np.testing.assert_allclose(mass, oracle(*operands), rtol=1e-5, atol=1e-6)

    check()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_short_floats_are_accumulated_in_float32(dtype):
    """As exactly as float32, for their products are exact."""
    shape, tiles = SHAPES["few rows"]
    operands = draw_operands(shape, 0, dtype)
    mass = run(*operands, tiles=tiles, interpret=True)
    assert mass.dtype == jnp.float32 and close(mass, oracle(*operands), 1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_the_twin_in_plain_xla_is_the_oracle(name):
    operands = draw_operands(SHAPES[name][0], 2)
    np.testing.assert_allclose(jax.jit(h2o.key_mass)(*operands), oracle(*operands), rtol=1e-5, atol=1e-6)


def test_operands_of_two_dtypes_are_not_the_kernels():
    q, keys = (jax.ShapeDtypeStruct((1, 701, n, 64), jnp.bfloat16) for n in (6, 2))
    with compiling_for("sm_90"):
        assert h2o.summing(q, keys) is key_mass_pallas
        assert h2o.summing(q, jax.ShapeDtypeStruct(keys.shape, jnp.float32)) is h2o.key_mass


def test_what_an_empty_slot_or_a_blind_query_holds_does_not_matter():
    shape, tiles = SHAPES["few keys"]
    q, k, lse, slot, valid = draw_operands(shape, 1)
    lse = lse.at[:, :, 3].set(-jnp.inf)
    valid = valid.at[:, :, 5].set(False)
    mass = run(q.at[:, 3].set(1e30), k.at[:, 5].set(jnp.nan), lse, slot, valid, tiles=tiles, interpret=True)
    assert close(mass, oracle(q, k, lse, slot, valid), 1e-5)


@pytest.mark.parametrize("name", SHAPES)
def test_declared_flops_are_those_of_the_tiles_that_run(name):
    shape, tiles = SHAPES[name]
    call = partial(key_mass_pallas, tiles=tiles, interpret=True)
    operands = draw_operands(shape, 0)
    [kernel] = [eqn for eqn in jax.make_jaxpr(call)(*operands).eqns if eqn.primitive.name == "pallas_call"]
    [loop] = [eqn for eqn in kernel.params["jaxpr"].eqns if eqn.primitive.name == "scan"]
    body = open_jaxpr(loop.params["jaxpr"])[0].eqns
    turn = sum(PRODUCTS[eqn.primitive.name](eqn) for eqn in body if eqn.primitive.name in PRODUCTS)
    programs = int(np.prod(kernel.params["grid_mapping"].grid))
    ran = count_flops(call, *operands).kernels
    assert ran == {NAME: (1, programs * loop.params["length"] * turn)} and turn > 0


@pytest.mark.parametrize(("platform", "target", "device"), [
    ("cuda", "sm_90", "NVIDIA H100 80GB HBM3"), ("rocm", "gfx1201", "gfx1201"),
])  # fmt: skip
@pytest.mark.parametrize(
    ("dtype", "head_dim"), [("bfloat16", 64), ("float16", 128), ("bfloat16", 256), ("float32", 128)]
)
def test_lowers_for_an_absent_gpu(platform, target, device, dtype, head_dim):
    tiles = key_mass_tiles(target, jnp.dtype(dtype), head_dim)
    assert dtype == "float32" or tiles is KEY_MASS[target, 2, head_dim]
    q, k = (jax.ShapeDtypeStruct((1, t, n, head_dim), dtype) for t, n in ((300, 6), (500, 2)))
    lse, slot = jax.ShapeDtypeStruct((1, 6, 300), jnp.float32), jax.ShapeDtypeStruct((300,), jnp.int32)
    valid = jax.ShapeDtypeStruct((1, 1, 500), bool)
    mass = jax.jit(partial(key_mass_pallas, tiles=tiles))
    with absent_gpu(device):
        lowered = mass.trace(q, k, lse, slot, valid).lower(lowering_platforms=(platform,))
    assert "triton" in lowered.as_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k_bskh": jnp.zeros((1, 9, 2, 16))}, r"k_bskh must have sizes out of \(\(1,\), \(9,\), \(2,\), \(32,\)\)"),
        ({"lse_bnt": jnp.zeros((1, 2, 5))}, "lse_bnt must have sizes out of"),
        ({"slot_t": jnp.zeros((1, 5), int)}, "slot_t must have sizes out of"),
        ({"valid_bks": jnp.ones((1, 4, 9), bool)}, "valid_bks must have sizes out of"),
        ({"k_bskh": jnp.zeros((1, 9, 3, 32))}, "4 query heads are not a multiple of 3"),
        ({"k_bskh": jnp.zeros((1, 9, 2, 32), jnp.bfloat16)}, "k must be of q's dtype float32, got bfloat16"),
        ({"q_btnh": jnp.zeros((1, 5, 4, 24))}, "head sizes 16, 32, 64, 128 and 256, got 24"),
    ],
)
def test_misfits_are_named(change, message):
    call = {
        "q_btnh": jnp.zeros((1, 5, 4, 32)), "k_bskh": jnp.zeros((1, 9, 2, 32)), "lse_bnt": jnp.zeros((1, 4, 5)),
        "slot_t": jnp.zeros(5, int), "valid_bks": jnp.ones((1, 1, 9), bool),
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        key_mass_pallas(**(call | change))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("name", LARGE)
@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1))
def test_compiled_kernel_is_the_oracle(name, dtype, seed):
    operands = draw_operands(LARGE[name], seed, dtype)
    tiles = key_mass_tiles(current_target(), dtype, LARGE[name][-1])
    mass = run(*operands, tiles=tiles, interpret=False)
    assert close(mass, oracle(*operands), 1e-5 if dtype == jnp.float32 else 1e-3)
