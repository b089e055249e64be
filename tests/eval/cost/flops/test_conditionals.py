"""Conditionals and values that a counter has to work out, counted by hand, traced and compiled."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from eval.cost.flops.compiled import count_hlo
from eval.cost.flops.traced import count_flops

N = 5
SQUARE = jax.ShapeDtypeStruct((N, N), jnp.float32)
ONCE = 2 * N**3


def both(function, *args, expected: int) -> None:
    """Traced as expected, and compiled as traced, with no conditional left unexplained."""
    traced = count_flops(function, *args)
    assert traced.total == expected
    text = jax.jit(function).lower(*args).compile().as_text()
    counted = count_hlo(text, traced.visits, traced.kernels, traced.taken)
    assert counted.total == expected and counted.unexplained == ()


def in_turns(branches, of_turn):
    def program(x):
        return lax.scan(lambda x, t: (lax.switch(of_turn(t), branches, x), None), x, jnp.arange(9))[0]

    return program


def test_branches_that_cost_the_same() -> None:
    """Two cheap ones and a dear one, three turns each."""
    branches = [lambda x: jnp.cos(x) @ x, lambda x: jnp.sin(x) @ x, lambda x: jnp.tan(x) @ x @ x]
    both(in_turns(branches, lambda t: t % 3), SQUARE, expected=3 * ONCE + 3 * ONCE + 3 * 2 * ONCE)


def test_a_compiled_conditional_that_nothing_explains_is_listed() -> None:
    """The inner one is dear in some of the outer one's turns: in the trace the outer branch has two costs."""

    def inner(x):
        return lax.cond(x[0, 0] > 3, lambda x: x @ x, lambda x: x, x)

    text = jax.jit(in_turns([inner, lambda x: jnp.cos(x) @ x @ x], lambda t: t % 2)).lower(SQUARE).compile().as_text()
    assert count_hlo(text).total == 9 * 2 * ONCE
    assert len(count_hlo(text, taken={}).unexplained) == 2


def test_a_kernel_outweighs_a_product_in_a_branch() -> None:
    text = """HloModule m
%cheap (p.1: f32[5,5]) -> f32[5,5] {
  %p.1 = f32[5,5]{1,0} parameter(0)
  ROOT %dot.1 = f32[5,5]{1,0} dot(%p.1, %p.1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
%dear (p.2: f32[5,5]) -> f32[5,5] {
  %p.2 = f32[5,5]{1,0} parameter(0)
  ROOT %call.2 = f32[5,5]{1,0} custom-call(%p.2), custom_call_target="__gpu$xla.gpu.triton", backend_config={name = "span_attention"}
}
ENTRY %main (p: f32[5,5], i: pred[]) -> f32[5,5] {
  %p = f32[5,5]{1,0} parameter(0)
  %i = pred[] parameter(1)
  ROOT %c = f32[5,5]{1,0} conditional(%i, %p, %p), true_computation=%dear, false_computation=%cheap
}
"""  # noqa: E501
    assert count_hlo(text, kernels={"span_attention": (2, 2_000_000)}).total == 1_000_000


def test_what_a_cond_gives_is_known_where_its_predicate_is() -> None:
    def program(x):
        number = lax.cond(jnp.asarray(3) > 2, lambda: 0, lambda: 1)
        return lax.switch(number, [lambda x: x, lambda x: x @ x @ x], x)

    assert count_flops(program, SQUARE).total == 0


def test_what_a_loop_carried_out_is_known() -> None:
    def program(x):
        turns, _ = lax.scan(lambda c, _: (c + 1, None), jnp.int32(0), length=3)
        return lax.cond(turns > 5, lambda x: x @ x @ x, lambda x: x, x)

    assert count_flops(program, SQUARE).total == 0


@pytest.mark.parametrize(("start", "read", "expected"), [(8, 6, ONCE), (-3, 7, ONCE), (8, 4, 0), (2, 99, 0)])
def test_starts_beyond_an_end_are_moved_as_xla_moves_them(start: int, read: int, expected: int) -> None:
    def program(x):
        line = lax.dynamic_update_slice(jnp.zeros(10, jnp.int32), jnp.ones(4, jnp.int32), (start,))
        seen = lax.dynamic_slice(line, (read,), (2,))
        return lax.cond((seen > 0).all(), lambda x: x @ x, lambda x: x, x)

    assert count_flops(program, SQUARE).total == expected
    line = lax.dynamic_update_slice(jnp.zeros(10, jnp.int32), jnp.ones(4, jnp.int32), (start,))
    assert bool((lax.dynamic_slice(line, (read,), (2,)) > 0).all()) == bool(expected)


def test_any_name_of_a_scope_and_keys_of_random_numbers() -> None:
    def program(x):
        with jax.named_scope("inner"):
            x = jax.jit(lambda y: jnp.sin(y) @ y)(x)
        drawn = jax.random.bernoulli(jax.random.key(0))
        return lax.cond(drawn, lambda x: x @ x, lambda x: x, x)

    assert count_flops(program, SQUARE).total == 2 * ONCE
