"""Every implementation against the dense oracle, and the oracle against one-hot values."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention.attend import attend
from attention.backends.registry import counted_as
from attention.kernels.blockwise import attend_blockwise
from attention.kernels.cover import Blocks, choose_blocks, executed_pairs
from attention.layout import parse_variant
from attention.mask import dense_mask
from attention.pattern import SpanPattern, Spans, visible_pairs
from tests.attention.dense_oracle import attend_dense
from tests.compiling import AS_USERS_DO
from tests.examples import EXAMPLES
from tests.operands import on_device
from tests.strategies import patterns, problems, spans

blocks = st.one_of(st.none(), st.sampled_from((Blocks(8, 64), Blocks(16, 192), Blocks(64, 128))))


pytestmark = pytest.mark.usefixtures("fast_compile")
COMPILING = settings(max_examples=5)


def jitted(function):
    """Pattern and blocks are what a program is compiled for."""
    return jax.jit(function, static_argnums=(5, 6))


@COMPILING
@given(problems(), blocks)
def test_blockwise_is_the_oracle_in_float32(problem, blocks):
    operands = problem.operands()
    found = jitted(attend_blockwise)(*operands, problem.pattern, blocks)
    chex.assert_trees_all_close(
        (found.out_btnh, found.lse_bnt), attend_dense(*operands, problem.pattern), atol=2e-5, rtol=0
    )


def test_padding_among_the_queries_of_an_unmasked_tile_puts_out_nothing():
    """All keys are before all queries, so that nothing is masked; an empty query still sees none of them."""
    rng = np.random.default_rng(0)
    q, k, v = (on_device(rng.normal(size=shape)) for shape in ((2, 8, 6, 7), *[(2, 64, 2, 7)] * 2))
    q_pos = np.where(np.arange(8) % 3 == 1, -1, 64 + np.arange(8))[None]
    out = attend_blockwise(q, k, v, q_pos, np.arange(64)[None, None], SpanPattern(), Blocks(8, 64)).out_btnh
    np.testing.assert_array_equal((np.asarray(out) == 0).all((0, 2, 3)), q_pos[0] < 0)


@COMPILING
@given(problems())
def test_blockwise_is_the_oracle_in_bfloat16(problem):
    operands = problem.operands(jnp.bfloat16)
    out = jitted(attend_blockwise)(*operands, problem.pattern, None).out_btnh
    expected, _ = attend_dense(*operands, problem.pattern)
    assert out.dtype == jnp.bfloat16
    chex.assert_trees_all_close(out.astype(jnp.float32), expected.astype(jnp.float32), atol=2e-2, rtol=2e-2)


@COMPILING
@given(problems(), blocks, st.data())
def test_spans_that_are_data_are_packed_and_equal_the_oracle(problem, blocks, data):
    """A span of its own for each query, for all heads, each key-value head or each head."""
    operands = problem.operands()
    (b, t, n, _), k = problem.q_btnh.shape, problem.k_bskh.shape[2]
    shape = (
        data.draw(st.sampled_from((1, b))),
        data.draw(st.sampled_from((1, k, n))),
        data.draw(st.sampled_from((1, t))),
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    choices = np.array(data.draw(st.lists(spans, min_size=1, max_size=3)))
    pattern = Spans(
        on_device(rng.choice(choices, shape), jnp.int32),
        on_device(rng.integers(0, 9, (1, k, n)[rng.integers(3)]), jnp.int32),
        jnp.asarray(np.unique(choices), jnp.int32) if data.draw(st.booleans()) else None,
    )
    run = jax.jit(attend_blockwise, static_argnums=6)
    found = run(*operands, pattern, blocks)
    chex.assert_trees_all_close((found.out_btnh, found.lse_bnt), attend_dense(*operands, pattern), atol=2e-5, rtol=0)


@pytest.mark.parametrize("impl", ["dense", "blockwise"])
@pytest.mark.parametrize("text", [text for text in EXAMPLES if parse_variant(text).has_only_a_pattern])
def test_one_hot_values_name_the_keys_that_were_read(text, impl):
    """Perplexity cannot see a window that is off by one; the identity as values can."""
    tokens = 67
    pattern = parse_variant(text).at_length(tokens).pattern()
    q = jnp.zeros((1, tokens, 1, tokens))
    values = jnp.eye(tokens)[None, :, None]
    position = jnp.arange(tokens)
    run = jax.jit(partial(attend, pattern=pattern, impl=impl))
    out = run(q, jnp.zeros_like(values), values, position[None], position[None, None]).out_btnh
    mask = dense_mask(pattern, position[None], position[None, None], 1)[0, 0]
    np.testing.assert_array_equal(np.asarray(out[0, :, 0]) > 0, mask)
    np.testing.assert_allclose(out[0, :, 0].sum(-1), 1, rtol=1e-6)


@COMPILING
@given(patterns(6), st.integers(1, 300), st.integers(0, 200), blocks)
def test_counted_pairs_are_those_that_ran(pattern, tokens, start, blocks):
    n_heads, n_kv_heads, slots = 6, 2, start + tokens
    q_pos, kv_pos = np.arange(start, slots), np.arange(slots)
    blocks = blocks or choose_blocks(pattern, tokens, slots, 3)
    q, kv = jnp.ones((1, tokens, n_heads, 4)), jnp.ones((1, slots, n_kv_heads, 4))
    positions = jnp.asarray(q_pos)[None], jnp.asarray(kv_pos)[None, None]
    ran = int(jitted(attend_blockwise)(q, kv, kv, *positions, pattern, blocks).visited)
    assert executed_pairs(pattern, n_heads, n_kv_heads, q_pos, kv_pos, blocks) == ran
    assert ran >= visible_pairs(pattern, n_heads, tokens, start)


def test_a_window_costs_about_its_width():
    """8,192 tokens through 1,024 keys: at most a quarter more than what is visible."""
    tokens, pattern = 8192, SpanPattern(span=(1024,))
    ran = executed_pairs(pattern, 9, 3, np.arange(tokens), np.arange(tokens))
    assert ran < 1.25 * visible_pairs(pattern, 9, tokens)


def test_no_scores_of_the_whole_prompt_and_no_keys_per_query_head():
    tokens, heads = 4096, 8
    q, kv = (jax.ShapeDtypeStruct((1, tokens, n, 64), jnp.float32) for n in (heads, 1))
    pos = jax.ShapeDtypeStruct((1, tokens), jnp.int32)

    def run(q, k, v, pos):
        return attend(q, k, v, pos, pos[:, None], SpanPattern(span=(256,)), impl="blockwise").out_btnh

    temp_bytes = jax.jit(run).lower(q, kv, kv, pos).compile(AS_USERS_DO).memory_analysis().temp_size_in_bytes
    assert temp_bytes < 4 * tokens * 64 * heads * 4  # a few copies of q; scores alone would be 512 MiB


def test_auto_says_what_it_runs():
    assert counted_as("auto", 1, 4096).name == "dense"
    assert counted_as("auto", 4096, 4096).name == "blockwise"
    assert counted_as("dense", 4096, 4096).name == "dense"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"impl": "flash"}, "no attention implementation 'flash'; accepted: auto, dense, blockwise"),
        ({"v_bskh": jnp.zeros((1, 5, 2, 4))}, r"v must be \[B, S, K, H\] = \(1, 7, 2, 4\)"),
        ({"q_btnh": jnp.zeros((1, 3, 5, 4))}, "5 query heads are not a multiple of 2"),
        ({"q_pos_bt": jnp.zeros((1, 2), int)}, r"q_pos must be \[B or 1, T\] = \(1, 3\)"),
        ({"v_bskh": jnp.zeros((1, 7, 2, 4), jnp.bfloat16)}, "k and v must have one dtype, got float32 and bfloat16"),
        ({"q_btnh": jnp.zeros((1, 0, 6, 4))}, r"at least one of each size, got q \(1, 0, 6, 4\) and k \(1, 7, 2, 4\)"),
        (dict.fromkeys(("k_bskh", "v_bskh"), jnp.zeros((1, 0, 2, 4))), r"at least one of each size, got q"),
        ({"kv_pos_bks": jnp.zeros((1, 1, 11), int)}, r"kv_pos must be \[B or 1, K or 1, S\] = \(1, 2, 7\)"),
    ],
)
def test_misfits_are_named(change, message):
    kv = jnp.zeros((1, 7, 2, 4))
    call = {
        "q_btnh": jnp.zeros((1, 3, 6, 4)), "k_bskh": kv, "v_bskh": kv, "q_pos_bt": jnp.arange(3)[None],
        "kv_pos_bks": jnp.arange(7)[None, None], "pattern": SpanPattern(),
    }  # fmt: skip
    attend(**call)
    with pytest.raises(ValueError, match=message):
        attend(**(call | change))
