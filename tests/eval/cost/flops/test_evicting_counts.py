"""Counts of layers that evict: how often an event comes, and what scores cost, known three ways."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from attention.eviction.registry import POLICIES
from eval.cost.flops.closed_form import steps_flops
from eval.cost.flops.cross_check import cross_check
from eval.cost.flops.model_program import component_of, schedule_program
from eval.cost.flops.traced import count_flops
from eval.cost.flops.traffic import kv_bytes_per_token, kv_cache_bytes, steps_bytes
from eval.cost.roofline import decode_crossover_tokens
from refmodel.presets import preset
from refmodel.schedule import decode_steps, prefill_steps

SCHEDULES = {
    "dense pieces": prefill_steps(331),
    "one-shot": prefill_steps(1409),
    "in chunks": prefill_steps(1409, 600),
    "a chunk": prefill_steps(1409, 600)[1:2],
    "decode": decode_steps(699),
    "decode to an event": decode_steps(599),
}
"""Of layers with 450 slots at least: pieces of 300 tokens are blockwise, what is left of a prompt is dense."""


IN_CHUNKS, AFTER = "evict(snapkv, budget={}, chunk=64, sinks=2)", "evict_after(pyramidkv, budget={})"


def layout(policy: str) -> str:
    more = ", recent=50" if policy == "lagkv" else ""
    return f"evict({policy}, budget=150, chunk=300, sinks=2{more})"


@pytest.mark.parametrize("steps", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("policy", POLICIES)
def test_traced_model_equals_closed_form(policy: str, steps) -> None:
    config = preset("tiny-dense").with_layout(layout(policy))
    program, args = schedule_program(config, steps)
    counted = count_flops(program, *args).grouped(component_of)
    assert counted == steps_flops(config, steps, count="executed")


@pytest.mark.parametrize("steps", [prefill_steps(701), decode_steps(700)], ids=["prompt", "decode"])
@pytest.mark.parametrize("policy", ["h2o", "adakv", "pyramidkv"])
def test_after_the_prompt(policy: str, steps) -> None:
    config = preset("tiny-dense").with_layout(f"evict_after({policy}, budget=150)")
    program, args = schedule_program(config, steps)
    assert count_flops(program, *args).grouped(component_of) == steps_flops(config, steps, count="executed")


@pytest.mark.parametrize(
    "layout",
    [layout("h2o"), layout("snapkv") + "+" + layout("keydiff"), layout("adakv"), "evict_after(tova,budget=99)"],
)
def test_three_ways_agree(layout: str) -> None:
    for steps in (prefill_steps(1409), decode_steps(700)):
        check = cross_check(preset("tiny-moe").with_layout(layout), steps)
        assert check.faults == []
        merges = steps == decode_steps(700) and "h2o" in layout  # see below
        assert check.merged == (check.executed["selection"] if merges else 0)
        if not merges:
            assert check.compiled.get("selection", 0) == check.executed.get("selection", 0)


@pytest.mark.parametrize(
    ("form", "steps"),
    [
        (IN_CHUNKS, prefill_steps(701)), (IN_CHUNKS, prefill_steps(701, 128)), (IN_CHUNKS, decode_steps(701, 3)),
        (AFTER, prefill_steps(701)), (AFTER, decode_steps(701, 3)),
    ],
)  # fmt: skip
def test_a_share_is_counted_as_its_keys(form: str, steps) -> None:
    share, fixed = (preset("tiny-dense").with_layout(form.format(budget)) for budget in ("0.5", 350))
    for count in ("useful", "executed"):
        assert steps_flops(share, steps, count=count) == steps_flops(fixed, steps, count=count)
        each = [steps_flops(share, [one], count=count) for one in steps]
        assert each == [steps_flops(fixed, [one], count=count) for one in steps]
    assert steps_bytes(share, steps) == steps_bytes(fixed, steps)
    if len(steps) == 1:
        program, args = schedule_program(share, steps)
        assert count_flops(program, *args).grouped(component_of) == steps_flops(fixed, steps, count="executed")


def test_the_cache_of_a_share_grows_with_the_sequence() -> None:
    model = preset("tiny-dense").with_layout("evict(streaming, budget=0.25, chunk=64)")
    per_token = kv_bytes_per_token(model)
    assert [kv_cache_bytes(model, n) // per_token for n in (64, 800, 8000)] == [80, 264, 2064]
    context = decode_crossover_tokens(model)
    overtakes = [steps_bytes(model, decode_steps(n)) for n in (context - 1, context)]
    assert [2 * moved["attention"] > sum(moved.values()) for moved in overtakes] == [False, True]


def test_scores_that_are_asked_for_twice_are_computed_once() -> None:
    """H2O's scores of a decode step are those of dense attention, to the compiler."""
    check = cross_check(preset("tiny-moe").with_layout(layout("h2o")), decode_steps(700))
    assert check.faults == []
    assert check.merged == check.executed["selection"] == check.executed["attention"] // 2


def test_a_conditional_that_turns_decide_is_counted_by_its_turns() -> None:
    """Two of seven turns multiply; neither the dearest branch in all of them nor in none."""

    def program(x, turns):
        def turn(x, i):
            return jax.lax.cond(i % 3 == 2, lambda x: x @ x, lambda x: x, x), None

        return jax.lax.scan(turn, x, turns)[0]

    square, once = jax.ShapeDtypeStruct((5, 5), jnp.float32), 2 * 5**3
    known = count_flops(lambda x: program(x, jnp.arange(7)), square)
    assert known.total == 2 * once and known.taken == {(0, once): (5, 2)}
    assert count_flops(lambda x: program(x, jnp.arange(7)), square, cond="error").total == 2 * once
    unknown = count_flops(program, square, jax.ShapeDtypeStruct((7,), jnp.int32))
    assert unknown.total == 7 * once and unknown.taken == {(0, once): (0, 7)}
    with pytest.raises(ValueError, match="choose a cond policy"):
        count_flops(program, square, jax.ShapeDtypeStruct((7,), jnp.int32), cond="error")
