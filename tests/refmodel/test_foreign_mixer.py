"""A mixer that is no softmax attention, defined here: model, cache and counts take it as they are."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest
from jax import lax

import attention
from attention.attended import Attended
from attention.cost import ONLY_LAYER, Cost, Depth, Heads
from attention.layout import format_layout, parse_layout
from attention.mixer import Mixer, MixerInput, StepContext
from attention.variants import VARIANTS
from eval.cost.crossover import crossover_tokens, limiting_share
from eval.cost.flops.closed_form import steps_flops
from eval.cost.flops.cross_check import cross_check
from eval.cost.flops.traffic import kv_bytes_per_token, kv_cache_bytes
from eval.testing import assert_causal, assert_flops_agree
from refmodel.cache import cache_bytes, init_cache
from refmodel.model import prefill, step
from refmodel.presets import preset
from refmodel.schedule import Step, prefill_steps
from refmodel.weights.random import random_params

pytestmark = pytest.mark.usefixtures("fast_compile")

TOKENS = 17


@dataclass(frozen=True)
class Decaying(Mixer):
    """`decaying(half_life)`: o_t = q_t S_t,  S_t = g S_{t-1} + k_t v_tᵀ,  g = 2^(-1 / half_life); a learned scale."""

    name = "decaying"
    example = "decaying(5)"

    half_life: int

    def params(self, heads: Heads) -> dict[str, tuple[int, ...]]:
        return {"decaying_mix": (heads.head_dim, heads.head_dim)}

    def init_state(self, heads: Heads, batch: int, capacity_tokens: int, dtype: Any, *, ragged: bool = False) -> Any:
        if ragged:
            raise ValueError(f"{self} has no padding")
        return jnp.zeros((batch, heads.n_kv_heads, heads.head_dim, heads.head_dim), jnp.float32)

    def state_values(self, heads: Heads) -> int:
        return heads.n_kv_heads * heads.head_dim**2

    def mix(self, inputs: MixerInput, now: StepContext, state: jax.Array) -> tuple[Attended, jax.Array]:
        b, h = len(inputs.q_btnh), inputs.q_btnh.shape[-1]

        def token(s_bkhi: jax.Array, qkv: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
            q_bnh, k_bkh, v_bkh = qkv
            s_bkhi = 2 ** (-1 / self.half_life) * s_bkhi + k_bkh[..., None] * v_bkh[..., None, :]
            return s_bkhi, jnp.einsum("bkgh,bkhi->bkgi", q_bnh.reshape(b, k_bkh.shape[1], -1, h), s_bkhi)

        operands = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (inputs.q_btnh, inputs.k_btkh, inputs.v_btkh))
        state, out_tbkgh = lax.scan(token, state, operands)
        out_btnh = jnp.moveaxis(out_tbkgh, 0, 1).reshape(inputs.q_btnh.shape)
        return Attended(out_btnh @ inputs.params["decaying_mix"]), state

    def useful(self, heads: Heads, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> Cost:
        return Cost(0, state_flops=tokens * int(self.limiting_flops(heads)))

    def executed(
        self, heads: Heads, tokens: int, start: int = 0, capacity: int = 0, impl: str = "auto",
        depth: Depth = ONLY_LAYER,
    ) -> Cost:  # fmt: skip
        return self.useful(heads, tokens)

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Fraction:
        return Fraction(2 * 2 * heads.n_heads * heads.head_dim**2)


def hybrid(n_layers: int = 7):
    """Two of three layers recurrent, the last one of the cycle a window; and a tail of one."""
    config = dataclasses.replace(preset("tiny-dense"), layers=n_layers * preset("tiny-dense").layers[:1])
    cycle = (Decaying(5), Decaying(5), attention.make("swa", window=5))
    return config.with_layout([cycle[i % 3] for i in range(n_layers)])


@pytest.mark.parametrize("config", [hybrid(), preset("tiny-moe").with_layout(Decaying(3))], ids=["hybrid", "all"])
def test_one_step_chunks_and_decode_are_equal(config):
    params, tokens_bt = random_params(config, 3, jnp.float32), jnp.arange(2 * TOKENS).reshape(2, TOKENS)
    run = jax.jit(prefill, static_argnums=0, static_argnames=("logits", "chunk_tokens", "capacity_tokens"))
    one_step, one_cache = run(config, params, tokens_bt, logits="all")
    chunks, cache = run(config, params, tokens_bt[:, :12], chunk_tokens=4, capacity_tokens=TOKENS, logits="all")
    chex.assert_trees_all_close(chunks, one_step[:, 8:12], atol=1e-5)
    decode = jax.jit(step, static_argnums=0)
    for t in range(12, TOKENS):
        logits, cache = decode(config, params, cache, tokens_bt[:, t : t + 1])
        chex.assert_trees_all_close(logits, one_step[:, t], atol=1e-5)
    chex.assert_trees_all_close(cache.runs[0], one_cache.runs[0], atol=1e-5)


def test_a_state_that_never_fills_takes_any_number_of_tokens():
    config = preset("tiny-dense").with_layout(Decaying(3))
    params = random_params(config, 3, jnp.float32)
    logits, _ = step(config, params, init_cache(config, 1, 2), jnp.arange(9)[None])
    assert jnp.isfinite(logits).all()
    with pytest.raises(ValueError, match=r"decaying\(3\) has no padding"):
        init_cache(config, 1, 2, ragged=True)


@pytest.mark.parametrize("steps", [prefill_steps(TOKENS), prefill_steps(TOKENS, 5), (Step(1, TOKENS),)], ids=len)
def test_closed_form_is_what_is_traced(steps):
    check = cross_check(hybrid(), steps, compile_too=False)
    assert check.faults == [] and steps_flops(hybrid(), steps, count="executed")["attention"] > 0


def test_its_state_is_counted_in_bytes_and_its_cost_in_the_limit():
    config = hybrid(6)
    assert kv_cache_bytes(config, 31, "f32") == cache_bytes(config, init_cache(config, 1, 31))
    assert kv_bytes_per_token(config, "f32") == 2 * 4 * 2 * config.n_kv_heads * config.head_dim  # of two windows
    assert 0 < limiting_share(config) < 1 and crossover_tokens(config) is None


def test_it_owes_what_all_owe():
    assert_causal(Decaying(5), tokens=23)
    assert_flops_agree(Decaying(5), tokens=23)


def test_its_name_can_be_spelled_once_it_is_registered():
    assert format_layout((Decaying(5), Decaying(5))) == "decaying(5)"
    with VARIANTS.temporarily(Decaying):
        assert parse_layout("2*decaying(5)+full", 4) == (Decaying(5), Decaying(5), attention.make("full"), Decaying(5))
