"""Window conversion and refusals of the libraries on NVIDIA; their results on a GPU."""

from __future__ import annotations

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.attend import attend, choose_impl
from attention.backends.prompt_only import local_window
from attention.backends.tokamax import has_tokamax
from attention.kernels.target import compiling_for
from attention.pattern import UNBOUNDED, SpanPattern
from tests.attention.dense_oracle import attend_dense
from tests.operands import on_device

PATTERNS = SpanPattern(), SpanPattern((1,)), SpanPattern((29,)), SpanPattern((1000,))


def problem(tokens: int, heads: int, kv_heads: int, head_dim: int, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    shapes = (1, tokens, heads, head_dim), (1, tokens, kv_heads, head_dim), (1, tokens, kv_heads, head_dim)
    return *(on_device(rng.normal(size=shape), dtype) for shape in shapes), jnp.arange(tokens)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_our_window_is_theirs(pattern):
    """jax.nn's plain implementation reads the same argument as its cuDNN one: it shows which keys are meant."""
    q, k, v, pos = problem(67, 4, 2, 8)
    window = local_window(pattern, 67)
    theirs = jax.nn.dot_product_attention(q, k, v, is_causal=True, local_window_size=window, implementation="xla")
    chex.assert_trees_all_close(theirs, attend_dense(q, k, v, pos[None], pos[None, None], pattern)[0], atol=1e-5)


def test_a_window_that_nothing_outgrows_is_full_attention():
    assert local_window(SpanPattern((67,)), 67) is None
    assert local_window(SpanPattern((66,)), 67) == (65, 0)
    assert local_window(SpanPattern((67,), (4,)), 67) is None


@pytest.mark.parametrize(
    ("pattern", "message"),
    [(SpanPattern((5,), (2,)), "no sinks"), (SpanPattern((5, UNBOUNDED)), "one span for all heads")],
)
def test_what_they_cannot_express_is_refused(pattern, message):
    with pytest.raises(ValueError, match=message):
        local_window(pattern, 67)
    q, k, *_ = problem(67, 2, 1, 64, jnp.bfloat16)
    with compiling_for("sm_90"), pytest.raises(ValueError, match=f"attention by cudnn: cudnn takes {message}"):
        choose_impl(q, k, pattern, impl="cudnn", order="prompt")


@pytest.mark.parametrize(
    ("target", "change", "message"),
    [
        ("gfx1201", {}, "cudnn runs on NVIDIA GPUs, this is gfx1201"),
        ("sm_90", {"dtype": jnp.float32}, "cudnn takes bfloat16 and float16, got float32"),
        ("sm_90", {"head_dim": 32}, "cudnn is used for head sizes 64 and 128, got 32"),
    ],
)
def test_refusals_name_the_reason(target, change, message):
    q, k, *_ = problem(7, 2, 1, **{"head_dim": 64, "dtype": jnp.bfloat16, **change})
    with compiling_for(target), pytest.raises(ValueError, match=f"attention by cudnn: {message}"):
        choose_impl(q, k, SpanPattern(), impl="cudnn", order="prompt")


@pytest.mark.skipif(has_tokamax(), reason="tokamax is installed")
def test_a_library_that_is_not_installed_is_named():
    q, k, *_ = problem(7, 2, 1, 64, jnp.bfloat16)
    with compiling_for("sm_90"), pytest.raises(ValueError, match="attention by tokamax: tokamax is not installed"):
        choose_impl(q, k, SpanPattern(), impl="tokamax", order="prompt")


@pytest.mark.gpu
@pytest.mark.parametrize("library", ["cudnn", "tokamax"])
@pytest.mark.parametrize("pattern", [SpanPattern(), SpanPattern((1,)), SpanPattern((300,))])
def test_libraries_are_the_oracle(library, pattern):
    if library == "tokamax" and not has_tokamax():
        pytest.skip("tokamax is not installed")
    q, k, v, pos = problem(1536, 8, 2, 128, jnp.bfloat16)
    try:
        run = partial(
            attend, q_pos_bt=pos[None], kv_pos_bks=pos[None, None], pattern=pattern, impl=library, order="prompt"
        )
        out = jax.jit(run)(q, k, v).out_btnh.astype(jnp.float32)
    except TypeError as error:  # tokamax 0.0.12 calls Pallas in a way that jax 0.11.2 has left
        if library != "tokamax" or "out_shape" not in str(error):
            raise
        pytest.skip(f"this tokamax does not fit this jax: {error}")
    exact, _ = attend_dense(*(x.astype(jnp.float32) for x in (q, k, v)), pos[None], pos[None, None], pattern)
    assert jnp.linalg.norm(out - exact) < 1e-2 * jnp.linalg.norm(exact)
