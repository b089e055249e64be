"""Counts of variants that choose: where the choice is known, and where it is assumed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from attention.assumption import STAND_IN, assumed_in_counts
from eval.cost.flops.closed_form import steps_flops
from eval.cost.flops.cross_check import cross_check
from eval.cost.flops.model_program import component_of, schedule_program
from eval.cost.flops.traced import count_flops
from refmodel.presets import preset
from refmodel.schedule import decode_steps, prefill_steps

SCHEDULES = {
    "one-shot": prefill_steps(600),
    "roomy": prefill_steps(300, capacity=500),
    "in chunks": prefill_steps(700, 300),
    "a chunk": prefill_steps(700, 300)[1:2],
    "decode": decode_steps(700),
}
LAYOUTS = (
    "routed(64|full, router=periodic)",
    "routed(64|7|full, router=random, seed=3, per=head)+full",
    "routed(64|130, per=group)",
    "routed(64|full, router=keynorm, threshold=1)",
    "moba(64)+moba(100, topk=2)",
    "blocks(block=20, topk=7)+blocks(causal_antidiagonal, 32, topk=4)+blocks(block=80, topk=7, mean=true)",
    "msa(64, topk=2, dim=8)+msa(50, topk=3, dim=24)+msa(1000, dim=8)",
    "dsa(100, heads=3, dim=8)+dsa(650, heads=2, dim=16)+qsa(99, pool=3, dim=8)+qsa(700, pool=7, dim=8)",
    "spans(64|0.25N, sinks=3)",
)


@pytest.mark.parametrize("steps", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_traced_model_equals_closed_form(layout: str, steps) -> None:
    config = preset("tiny-dense").with_layout(layout)
    program, args = schedule_program(config, steps)
    counted = count_flops(program, *args).grouped(component_of)
    assert counted == steps_flops(config, steps, count="executed")


@pytest.mark.parametrize(
    "layout",
    [
        "routed(64|full)",
        "routed(64|7|full, router=random, per=group)",
        "moba(64)",
        "blocks(causal_antidiagonal, 64, topk=3)",
        "blocks(block=20, topk=7, mean=true)",
        "msa(64, topk=2, dim=8)",
        "dsa(100, dim=8)",
        "qsa(99, pool=3, dim=8)",
        "spans(64|full)",
    ],
)
def test_three_ways_agree(layout: str) -> None:
    check = cross_check(preset("tiny-dense").with_layout(layout), prefill_steps(600))
    assert check.faults == []
    assert check.compiled.get("selection", 0) == check.executed.get("selection", 0)


def test_routers_and_gates_are_selection() -> None:
    config = preset("tiny-dense").with_layout("routed(64|full, per=group)")
    useful = steps_flops(config, prefill_steps(600))
    assert useful["selection"] == 2 * 600 * config.d_model * 2 * config.n_kv_heads * config.n_layers
    config = preset("tiny-dense").with_layout("moba(100, topk=2)")
    gates = 100 * (1 + 2 + 3 + 4 + 5) * config.n_heads * config.n_layers
    assert steps_flops(config, prefill_steps(600))["selection"] == 2 * config.head_dim * gates


def test_counts_go_on_with_what_is_assumed() -> None:
    """Whether the choice is an argument or a constant; what runs is the choice."""
    square = jax.ShapeDtypeStruct((5, 5), jnp.float32)

    def program(chosen, x):
        turns = assumed_in_counts(chosen, jnp.int32(0))
        return jax.lax.switch(turns, [lambda x: x @ x, lambda x: x @ x @ x], x)

    assert (program(1, 2 * jnp.eye(5)) == 8 * jnp.eye(5)).all()
    once = 2 * 5**3
    assert count_flops(lambda x: program(jnp.int32(1), x), square).total == once
    assert count_flops(program, jax.ShapeDtypeStruct((), jnp.int32), square).total == once
    assert STAND_IN in str(jax.make_jaxpr(program)(1, jnp.eye(5)))
