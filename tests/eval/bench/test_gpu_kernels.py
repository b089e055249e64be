"""The kernels' benchmark where there is no GPU: its counts, its oracle, and what it says of absent peers."""

from __future__ import annotations

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention.kernels.target import compiling_for
from attention.pattern import UNBOUNDED, SpanPattern, visible_pairs
from eval.bench import gpu_kernels
from eval.bench.gpu_cases import AttentionCase, MatmulCase, Skip
from eval.bench.gpu_peers import hopper
from eval.bench.jax_peers import Fastest, jax_mha, jax_ragged_dot
from eval.bench.kept import KernelRun, kept

pytestmark = pytest.mark.usefixtures("fast_compile")


@pytest.mark.parametrize("span", [1, 29, 67, UNBOUNDED])
def test_flops_are_those_of_the_visible_pairs(span):
    case = AttentionCase("window", 67, np.full(67, span), n_heads=6, n_kv_heads=2, head_dim=8)
    assert case.flops == 4 * 8 * visible_pairs(SpanPattern((span,)), 6, 67)


def test_contenders_are_asked_about_the_heads_of_the_case():
    """The kernel for Hopper takes heads of 256 of any number, and none of 32."""
    case = AttentionCase("window 29", 1031, np.full(1031, 29), n_heads=6, n_kv_heads=2, head_dim=256)
    assert [x.shape for x in case.shapes] == [(1, 1031, 6, 256), (1, 1031, 2, 256)]
    with compiling_for("sm_90"):
        call, adapt = hopper(case)
        assert "mosaic_gpu" in lowered_for_cuda(call, adapt(*draw(case)))
        with pytest.raises(Skip, match="auto takes pallas here"):
            hopper(dataclasses.replace(case, head_dim=32))
    assert {c.head_dim for c in gpu_kernels.attention_cases()} == {64, 128, 256}


def draw(case):
    q, kv = case.shapes
    return [jnp.zeros(x.shape, x.dtype) for x in (q, kv, kv)]


def lowered_for_cuda(call, inputs) -> str:
    return call.trace(*inputs).lower(lowering_platforms=("cuda",)).as_text()


def as_kept(record) -> KernelRun:
    return kept(KernelRun, record | {"time": "now", "device_kind": "cpu", "jax": "0", "git_commit": None})


def plain_attention(case):
    def call(q, k, v):
        window = None if case.window is None else (case.window - 1, 0)
        return jax.nn.dot_product_attention(q, k, v, is_causal=True, local_window_size=window)

    return jax.jit(call), lambda *inputs: inputs


def test_a_case_records_speed_error_and_reasons(monkeypatch, capsys):
    def absent(case):
        raise Skip("not installed")

    def broken(case):
        raise TypeError("out_shape")

    monkeypatch.setattr(gpu_kernels, "ATTENTION", {"ours": plain_attention, "peer": absent, "other": broken})
    case = AttentionCase("window 29", 67, np.full(67, 29), n_heads=4, n_kv_heads=2, head_dim=16)
    ours, peer, other = gpu_kernels.run_case(case, samples=2)
    assert ours["status"] == "ok" and len(ours["samples_ms"]) == 2 and ours["relative_error"] < 1e-2
    assert (peer["status"], peer["reason"]) == ("skipped", "not installed")
    assert (other["status"], other["reason"]) == ("failed", "TypeError('out_shape')")
    gpu_kernels.show([as_kept(record) for record in (ours, peer, other)])
    printed = capsys.readouterr().out
    assert "1.00x" in printed and "not installed" in printed and f"{ours['relative_error']:.1e}" in printed


def test_products_are_beside_the_time_that_reading_their_weights_takes(monkeypatch, capsys):
    def plain_product(case):
        return jax.jit(lambda x, w: (x[:, None] @ w[case.expert_r])[:, 0]), lambda *inputs: inputs

    monkeypatch.setattr(gpu_kernels, "MATMUL", {"ours": plain_product})
    case = MatmulCase("experts", np.sort(np.arange(61) % 5), 5, 16, 32)
    (ours,) = gpu_kernels.run_case(case, samples=3)
    assert ours["status"] == "ok" and len(ours["weights_read_ms"]) == 3 and min(ours["weights_read_ms"]) > 0
    gpu_kernels.show([as_kept(ours)])
    assert "experts, 61 rows: reading the weights once takes" in capsys.readouterr().out


def test_rows_of_the_oracle_are_those_of_the_experts():
    case = MatmulCase("experts", np.sort(np.arange(61) % 5), 5, 16, 32)
    x, w = gpu_kernels._inputs(case, 0)
    rows = np.array([0, 17, 60])
    exact = gpu_kernels._exact_rows(case, (x, w), rows)
    expected = [np.float32(x[row]) @ np.float32(w[case.expert_r[row]]) for row in rows]
    np.testing.assert_allclose(exact, expected, atol=1e-4)


def test_of_several_tiles_the_quickest_that_runs_is_taken():
    calls = []

    def too_big(x):
        calls.append("too big")
        raise ValueError("exceeds shared memory")

    def slow(x):
        calls.append("slow")
        time.sleep(0.05)
        return x + 1

    def quick(x):
        calls.append("quick")
        return x + 1

    call = Fastest({"a": slow, "b": too_big, "c": quick})
    one = jnp.ones(())
    assert call(one) == 2 and set(calls) == {"slow", "too big", "quick"} and call.chosen == "c"
    calls.clear()
    assert call(2 * one) == 3 and calls == ["quick"]
    with pytest.raises(ValueError, match="exceeds shared memory"):
        Fastest({"a": too_big})(one)


def test_nobody_always_comes_after_the_same_other(monkeypatch):
    order = []
    monkeypatch.setattr(gpu_kernels, "chain_ms", lambda call, inputs, calls: order.append(call) or 30.0)
    times = gpu_kernels.time_in_turns({name: (name, []) for name in "abc"}, samples=3)
    assert times == dict.fromkeys("abc", [30.0] * 3)
    assert "".join(order[6:]) == "abcbcacab"


@pytest.mark.filterwarnings("ignore:jax.experimental.pallas.ops.gpu:DeprecationWarning")
def test_jaxs_own_attention_takes_what_it_is_given():
    case = AttentionCase("causal", 256, np.full(256, UNBOUNDED))
    call, adapt = jax_mha(case)
    heads = [jax.ShapeDtypeStruct((1, 256, n, 128), jnp.bfloat16) for n in (32, 4, 4)]
    q, k, v = jax.eval_shape(adapt, *heads)
    assert k.shape == v.shape == q.shape
    for tiles in call.calls.values():
        assert jax.eval_shape(tiles, q, k, v).shape == q.shape


def test_jaxs_own_product_takes_what_it_is_given():
    case = MatmulCase("experts", np.sort(np.arange(256) % 5), 5, 128, 512)
    call, adapt = jax_ragged_dot(case)
    operands = adapt(*gpu_kernels._inputs(case, 0))
    assert operands[-1].tolist() == case.group_sizes.tolist() and sum(case.group_sizes) == 256
    for tiles in call.calls.values():
        assert jax.eval_shape(tiles, *operands).shape == (256, 512)


def test_jaxs_own_kernel_says_that_it_takes_no_window():
    with pytest.raises(Skip, match="takes no window"):
        jax_mha(AttentionCase("window 29", 67, np.full(67, 29)))
    with pytest.raises(Skip, match="takes no span per query"):
        jax_mha(AttentionCase("routed", 67, np.full(67, 29), routed=True))
