"""The traced count against hand-counted values, and against the closed form on the real model."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.experimental import pallas as pl

from eval.cost.flops.closed_form import prefill_flops, steps_flops
from eval.cost.flops.model_program import component_of, schedule_program
from eval.cost.flops.traced import count_flops
from refmodel.presets import preset
from refmodel.schedule import decode_steps, prefill_steps

M, K, N = 3, 5, 7
A, B, SQUARE = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((M, K), (K, N), (K, K)))
ONE, SQUARED = 2 * M * K * N, 2 * K**3


def _scan(x, length=11, body=lambda x: x @ x):
    return lax.scan(lambda c, _: (body(c), None), x, None, length=length)[0]


@jax.custom_vjp
def _custom(a, b):
    return a @ b


_custom.defvjp(lambda a, b: (a @ b, (a, b)), lambda kept, g: (g @ kept[1].T, kept[0].T @ g))

HAND_COUNTED = {
    "matmul": (lambda a, b: a @ b, (A, B), ONE),
    "jit in jit": (jax.jit(lambda a, b: jax.jit(jnp.dot)(a, b) * 2), (A, B), ONE),
    "no products": (lambda a: jnp.sort(jnp.cumsum(a * a)).sum(), (A,), 0),
    "batched einsum": (
        partial(jnp.einsum, "bik,bkj->bij"),
        (jax.ShapeDtypeStruct((2, M, K), jnp.float32), jax.ShapeDtypeStruct((2, K, N), jnp.float32)),
        2 * ONE,
    ),
    "vmap": (jax.vmap(jnp.dot, (None, 0)), (A, jax.ShapeDtypeStruct((13, K, N), jnp.float32)), 13 * ONE),
    "scan": (_scan, (SQUARE,), 11 * SQUARED),
    "reversed scan over xs": (
        lambda x: lax.scan(lambda c, y: (c @ c, c @ y), x, jnp.ones((4, K, N)), reverse=True),
        (SQUARE,),
        4 * (SQUARED + 2 * K * K * N),
    ),
    "nested scan": (partial(_scan, length=3, body=_scan), (SQUARE,), 33 * SQUARED),
    "fori_loop": (lambda x: lax.fori_loop(0, 6, lambda _, c: c @ c, x), (SQUARE,), 6 * SQUARED),
    "cond, unknown predicate": (
        lambda x: lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x),
        (SQUARE,),
        2 * SQUARED,
    ),
    "cond, known predicate": (
        lambda x: lax.cond(jnp.arange(4)[2] > 3, lambda x: x @ x @ x, lambda x: x @ x, x),
        (SQUARE,),
        SQUARED,
    ),
    "switch": (
        lambda i, x: lax.switch(i, [lambda x: x, lambda x: x @ x, lambda x: x + 1], x),
        (jax.ShapeDtypeStruct((), jnp.int32), SQUARE),
        SQUARED,
    ),
    "grad": (jax.grad(lambda a, b: (a @ b).sum(), (0, 1)), (A, B), 3 * ONE),
    "value and grad": (jax.value_and_grad(lambda a, b: jnp.sin(a @ b).sum(), (0, 1)), (A, B), 3 * ONE),
    "grad of remat": (
        jax.value_and_grad(jax.checkpoint(lambda x: jnp.sin(jnp.sin(x @ x) @ x).sum())),
        (SQUARE,),
        (2 + 2 + 4) * SQUARED,
    ),
    "grad of scan": (
        jax.value_and_grad(lambda x: _scan(x, 5, jnp.linalg.matrix_transpose).sum() + _scan(x, 5).sum()),
        (SQUARE,),
        3 * 5 * SQUARED,
    ),
    "custom_vjp": (_custom, (A, B), ONE),
    "grad of custom_vjp": (jax.value_and_grad(lambda a, b: _custom(a, b).sum(), (0, 1)), (A, B), 3 * ONE),
    "convolution": (
        lambda x, k: lax.conv_general_dilated(x, k, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")),
        (jax.ShapeDtypeStruct((2, 17, K), jnp.float32), jax.ShapeDtypeStruct((3, K, N), jnp.float32)),
        2 * 2 * 17 * N * 3 * K,
    ),
    "depthwise convolution": (
        lambda x, k: lax.conv_general_dilated(
            x, k, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=K
        ),
        (jax.ShapeDtypeStruct((1, 19, K), jnp.float32), jax.ShapeDtypeStruct((4, 1, K), jnp.float32)),
        2 * 16 * K * 4,
    ),
    "ragged_dot": (
        lax.ragged_dot,
        (A, jax.ShapeDtypeStruct((2, K, N), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.int32)),
        ONE,
    ),
}


@pytest.mark.parametrize("case", HAND_COUNTED)
def test_hand_counted(case: str) -> None:
    function, args, flops = HAND_COUNTED[case]
    assert count_flops(function, *args).total == flops


def test_cond_policies_are_stated_and_obeyed() -> None:
    def function(x):
        return lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert count_flops(function, SQUARE, cond="cheapest").total == SQUARED
    assert count_flops(function, SQUARE).cond_policy == "dearest"
    with pytest.raises(ValueError, match="choose a cond policy"):
        count_flops(function, SQUARE, cond="error")
    with pytest.raises(ValueError, match="accepted: dearest, cheapest, error"):
        count_flops(function, SQUARE, cond="mean")


def test_while_is_an_error_that_names_it_unless_it_multiplies_nothing() -> None:
    def loop(body, x):
        with jax.named_scope("halving"):
            return lax.while_loop(lambda x: x.sum() > 1, body, x)

    with pytest.raises(ValueError, match=f"while in scope 'halving' runs {SQUARED} FLOPs"):
        count_flops(partial(loop, lambda x: x @ x), SQUARE)
    assert count_flops(partial(loop, lambda x: x / 2), SQUARE).total == 0


def test_an_annotation_says_how_often_a_named_call_runs() -> None:
    @jax.jit
    def turn(x):
        return x @ x

    @jax.jit
    def search(x):
        return lax.while_loop(lambda x: x.sum() > 1, turn, x) @ x

    def annotation(name, operands):
        return {"turn": 4} if name == "search" else None

    assert count_flops(partial(_scan, length=3, body=search), SQUARE, annotations=[annotation]).total == 3 * 5 * SQUARED
    with pytest.raises(ValueError, match="speaks of 'spin'"):
        count_flops(search, SQUARE, annotations=[lambda name, _: {"turn": 1, "spin": 1} if name == "search" else None])


def test_what_cannot_be_seen_is_an_error() -> None:
    with pytest.raises(ValueError, match="pure_callback in scope 'host'"):
        count_flops(jax.named_scope("host")(lambda x: jax.pure_callback(lambda x: x, SQUARE, x)), SQUARE)


def test_a_pallas_kernel_costs_what_it_says_and_must_say_it() -> None:
    def kernel(x, y):
        y[...] = x[...] @ x[...]

    def call(estimate):
        return pl.pallas_call(kernel, out_shape=SQUARE, interpret=True, cost_estimate=estimate)

    estimate = pl.CostEstimate(flops=1234, transcendentals=0, bytes_accessed=0)
    assert count_flops(partial(_scan, length=3, body=call(estimate)), SQUARE).total == 3 * 1234
    with pytest.raises(ValueError, match="pallas_call in scope 'tile' carries no cost_estimate"):
        count_flops(jax.named_scope("tile")(call(None)), SQUARE)


def test_scopes_make_a_readable_breakdown() -> None:
    def model(x):
        with jax.named_scope("layer"):
            with jax.named_scope("mix"):
                x = _scan(x, 2)
            return jax.vmap(jnp.dot)(x[None], x[None])

    count = count_flops(model, SQUARE)
    assert count.by_scope == {"layer/mix": 2 * SQUARED, "layer": SQUARED}
    assert count.grouped(lambda scope: scope.split("/")[0]) == {"layer": 3 * SQUARED}
    assert "layer/mix" in str(count) and f"{3 * SQUARED:,}" in str(count)


SCHEDULES = {
    "short": prefill_steps(7),
    "one-shot": prefill_steps(600),
    "long": prefill_steps(4096),
    "roomy": prefill_steps(300, capacity=500),
    "in chunks": prefill_steps(700, 300),
    "in many chunks": prefill_steps(600, 60),
    "a chunk": prefill_steps(700, 300)[1:2],
    "last chunk": prefill_steps(700, 300)[2:],
    "decode": decode_steps(700),
}


def traced(config, steps, **options) -> dict[str, int]:
    program, args = schedule_program(config, steps, **options)
    return count_flops(program, *args).grouped(component_of)


@pytest.mark.parametrize("steps", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("layout", ["full", "swa(5, sinks=2)", "swa(100)+full", "3*swa(64)+full"])
@pytest.mark.parametrize("name", ["tiny-dense", "tiny-moe"])
def test_traced_model_equals_closed_form(name: str, layout: str, steps) -> None:
    config = preset(name).with_layout(layout)
    assert traced(config, steps) == steps_flops(config, steps, count="executed")


@pytest.mark.parametrize(
    "name", ["qwen3-30b-a3b", "qwen3-235b-a22b", "qwen3-0.6b", "qwen3-32b", "smollm2-135m", "gpt-oss-20b"]
)
@pytest.mark.parametrize("layout", ["full", "swa(1024)+full"])
def test_traced_preset_equals_closed_form_at_4096(name: str, layout: str) -> None:
    config = preset(name).with_layout(layout)
    assert traced(config, prefill_steps(4096)) == steps_flops(config, prefill_steps(4096), count="executed")


@pytest.mark.parametrize("layout", ["swa(5, sinks=2)+full", "evict(keydiff,budget=7,chunk=5)", "moba(5,topk=2)"])
@pytest.mark.parametrize("name", ["tiny-dense", "tiny-moe"])
def test_prompts_of_a_batch_share_the_tiles_of_experts_alone(name: str, layout: str) -> None:
    config, batch, tokens = preset(name).with_layout(layout), 3, 61
    program, (params, tokens_bt) = schedule_program(config, prefill_steps(tokens))
    of_batch = jax.ShapeDtypeStruct((batch, tokens), tokens_bt.dtype)
    counted = count_flops(program, params, of_batch).grouped(component_of)
    assert counted == prefill_flops(config, tokens, count="executed", batch=batch)
    one, three = (prefill_flops(config, tokens, count="executed", batch=n) for n in (1, batch))
    assert {part for part in one if three[part] != batch * one[part]} == ({"experts"} if name == "tiny-moe" else set())
    useful = prefill_flops(config, tokens)
    assert prefill_flops(config, tokens, batch=batch) == {part: batch * flops for part, flops in useful.items()}


def test_dense_attention_computes_every_pair() -> None:
    config = preset("tiny-dense").with_layout("swa(5)")
    steps = prefill_steps(300)
    counted = traced(config, steps, impl="dense")
    assert counted == steps_flops(config, steps, count="executed", impl="dense")
    assert counted["attention"] == 4 * config.head_dim * config.n_heads * config.n_layers * 300 * 300


def test_positions_that_are_arguments_are_asked_for() -> None:
    from attention.attend import attend

    q, kv, pos = (
        jax.ShapeDtypeStruct(s, t)
        for s, t in (((1, 512, 2, 8), "float32"), ((1, 512, 1, 8), "float32"), ((1, 512), "int32"))
    )
    pattern = preset("tiny-dense").layout[0].pattern()
    with pytest.raises(ValueError, match=r"span_walk.*close over them"):
        count_flops(lambda q, k, v, pos: attend(q, k, v, pos, pos[:, None], pattern), q, kv, kv, pos)
