"""What attention gives says what ran, exactly, whatever it was put together from."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from attention.attend import attend
from attention.attended import Attended, concatenated
from attention.cost import Heads, step_positions
from attention.exact_count import ExactCount
from attention.kernels.cover import executed_pairs
from attention.layout import parse_variant
from attention.pattern import SpanPattern
from eval.measure.layer_program import layer_kernel
from refmodel.presets import preset
from tests.attention.layer_inputs import layer_input
from tests.operands import on_device

pytestmark = pytest.mark.usefixtures("fast_compile")

HEADS = Heads(6, 2, 8, 11)
LARGE = 2**40 + 1


def parts(visited=(LARGE, 3, 5), names=(("dense",), ("blockwise", "dense"), ("dense",)), lse=(True, True, True)):
    rng = np.random.default_rng(0)
    return [
        Attended(
            on_device(rng.normal(size=(2, t, 6, 7))),
            on_device(rng.normal(size=(2, 6, t))) if has_lse else None,
            None if count is None else ExactCount.of(jnp.int32(1)) * count,
            name,
        )
        for t, count, name, has_lse in zip((3, 1, 5), visited, names, lse, strict=True)
    ]


def test_steps_one_after_the_other_are_one():
    three = parts()
    whole = jax.jit(concatenated)(three)
    chex.assert_trees_all_equal(whole.out_btnh, np.concatenate([part.out_btnh for part in three], axis=1))
    chex.assert_trees_all_equal(whole.lse_bnt, np.concatenate([part.lse_bnt for part in three], axis=2))
    assert int(whole.visited) == LARGE + 8 and whole.impl == ("dense", "blockwise")


def test_what_one_part_does_not_tell_the_whole_does_not():
    whole = concatenated(parts(visited=(LARGE, None, 5), lse=(True, False, True)))
    assert whole.visited is None and whole.lse_bnt is None


def test_what_ran_before_is_added_and_the_result_is_the_last():
    first, second, third = parts()
    found = third.after(first, second)
    assert found.out_btnh is third.out_btnh and found.lse_bnt is third.lse_bnt
    assert int(found.visited) == LARGE + 8 and found.impl == ("dense", "blockwise")


def test_turns_of_a_scan_are_tokens_that_follow_each_other():
    q_btnh = on_device(np.random.default_rng(0).normal(size=(2, 21, 6, 7)))

    def turn(_, q_btnh):
        return None, Attended(q_btnh, q_btnh.sum(-1).swapaxes(1, 2), ExactCount.of(jnp.int32(7)) * LARGE, ("toy",))

    found = jax.jit(lambda q: lax.scan(turn, None, jnp.moveaxis(q.reshape(2, 7, 3, 6, 7), 1, 0))[1].unstacked())(q_btnh)
    chex.assert_trees_all_equal(found.out_btnh, q_btnh)
    chex.assert_trees_all_close(found.lse_bnt, q_btnh.sum(-1).swapaxes(1, 2), rtol=1e-6)
    assert int(found.visited) == 49 * LARGE and found.impl == ("toy",)


@pytest.mark.parametrize("pattern", [SpanPattern(), SpanPattern((29,), (3,)), SpanPattern((5, 307))])
def test_every_row_of_a_batch_counts(pattern):
    q, k = jnp.ones((3, 331, 6, 8)), jnp.ones((3, 331, 2, 8))
    position = np.arange(331)
    found = jax.jit(partial(attend, pattern=pattern, impl="blockwise"))(q, k, k, position[None], position[None, None])
    assert int(found.visited) == 3 * executed_pairs(pattern, 6, 2, position, position)
    assert found.impl == ("blockwise",)
    chex.assert_shape(found.lse_bnt, (3, 6, 331))


def test_a_variant_that_attends_once_says_what_it_counts():
    variant = parse_variant("routed(7|40, router=periodic)")
    q_pos, _ = step_positions(variant.pattern(), 311, 0, 311)
    found = jax.jit(partial(variant.attend, partial(attend, impl="blockwise")))(
        layer_input(variant, HEADS, 311, batch=1)
    )
    assert int(found.visited) == variant.executed(HEADS, q_pos.size, impl="blockwise").pairs


def test_what_nobody_reads_is_not_compiled():
    """Of a step that drops all but the result, neither the log-sum-exp nor the counts are in the program."""
    q, position = jnp.ones((1, 331, 2, 8)), jnp.arange(331)[None]

    def program(read):
        run = jax.jit(lambda q: read(attend(q, q, q, position, position[None], SpanPattern(), impl="blockwise")))
        return run.lower(q).compile().as_text()

    whole, result = program(lambda found: found), program(lambda found: found.out_btnh)
    assert "u32" in whole and "u32" not in result


def test_what_nobody_reads_of_the_chunks_of_an_eviction_is_not_compiled():
    config, variant = preset("tiny-dense"), parse_variant("evict(keydiff, budget=64, chunk=64)")
    kernel, arguments = layer_kernel(config, variant, 640, jnp.float32, attend=partial(attend, impl="blockwise"))

    def program(read):
        return jax.jit(lambda *operands: read(kernel(*operands))).lower(*arguments).compile().as_text()

    stacked_lse = f"f32[10,1,{config.n_heads},64]"
    whole, result = program(lambda found: found), program(lambda found: found.out_btnh)
    assert "u32[" in whole and stacked_lse in whole
    assert "u32[" not in result and stacked_lse not in result
