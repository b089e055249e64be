"""Keys that a layer's attention is told stand in order do: positions are data, and no kernel could check them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attend import attend
from attention.eviction.registry import POLICIES
from attention.layout import parse_variant
from eval.measure.layer_program import layer_kernel
from refmodel.presets import preset

pytestmark = pytest.mark.usefixtures("fast_compile")

CONFIG = preset("tiny-dense")
GAPS = {"adakv", "pyramidkv"}
"""Policies of which heads or layers keep different numbers of keys."""


def orders(text: str, steps: tuple[int, ...]) -> list[str]:
    """What attention was told in each call of a layer; raises where it was not so."""
    told, seen = [], []

    def checking(q, k, v, q_pos, kv_pos, pattern, *, order="any", **options):
        told.append(order)
        if order != "any":
            jax.debug.callback(lambda *positions: seen.append(positions), q_pos, kv_pos)
        return attend(q, k, v, q_pos, kv_pos, pattern, order=order, **options)

    kernel, arguments = layer_kernel(CONFIG, parse_variant(text), sum(steps), jnp.float32, steps=steps, attend=checking)
    jax.block_until_ready(jax.jit(kernel)(*arguments))
    jax.effects_barrier()
    for q_pos, kv_pos in seen:
        slot = np.broadcast_to(np.arange(kv_pos.shape[-1]), kv_pos.shape)
        assert ((kv_pos == slot) | ((kv_pos < 0) & (slot > q_pos.max()))).all()
    assert bool(seen) == (set(told) != {"any"})
    return told


@pytest.mark.parametrize("policy", POLICIES)
def test_an_eviction_fills_its_slots_from_the_first(policy):
    """Prompts that grow to the budget, pass it, and go on inside a chunk."""
    recent = 7 if POLICIES[policy].least_recent or policy in ("snapkv", "pyramidkv", "adakv") else 3
    told = orders(f"evict({policy},budget=23,chunk=11,sinks=2,recent={recent})", (44, 11, 3, 8, 5))
    assert set(told) == {"any" if policy in GAPS else "keys"}


def test_an_eviction_after_the_prompt_does_until_then():
    assert orders("evict_after(knorm,budget=17)", (53, 1, 1)) == ["keys", "any", "any"]
    assert orders("evict_after(adakv,budget=40)", (53, 1)) == ["keys", "any"]


def test_budgets_that_fall_over_layers_leave_gaps():
    variant = parse_variant("evict(pyramidkv,budget=40,chunk=37)")
    assert not variant.keys_in_order(True, n_layers=1) and not variant.keys_in_order(False, n_layers=3)


def test_a_prompts_first_step_is_in_order_and_no_later_one():
    assert orders("swa(13)", (31, 22)) == ["prompt", "any"]
