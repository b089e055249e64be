"""The GPU kernels that jax ships as examples, as contenders of `eval.bench.gpu_kernels`.

They leave their tiles to the caller: the fastest of a few is taken.  Of `attention_mgpu` there is none, for its buffers
are float16.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from eval.bench.gpu_cases import AttentionCase, Contender, MatmulCase, Skip


def jax_mha(case: AttentionCase) -> Contender:
    """Pallas-Triton; knows no groups of queries: keys and values are repeated, outside the call."""
    if case.window is not None:
        raise Skip("takes no window")
    from jax.experimental.pallas.ops.gpu.attention import BlockSizes, mha

    def tiled(block_q: int, block_k: int) -> Callable[..., jax.Array]:
        options = {"sm_scale": case.head_dim**-0.5, "causal": True, "block_sizes": BlockSizes(block_q, block_k)}
        return jax.jit(lambda q, k, v: mha(q, k, v, None, **options))

    repeat = partial(jnp.repeat, repeats=case.n_heads // case.n_kv_heads, axis=2)
    return fastest([tiled(128, 128), tiled(128, 64), tiled(64, 64)]), lambda q, k, v: (q, repeat(k), repeat(v))


def jax_ragged_dot(case: MatmulCase) -> Contender:
    """Pallas-Mosaic for Hopper, rows sorted by expert."""
    from jax.experimental.pallas.ops.gpu.ragged_dot_mgpu import ragged_dot

    sizes = jnp.asarray(case.group_sizes, jnp.int32)

    def tiled(block_m: int, block_n: int, grid_block_n: int) -> Callable[..., jax.Array]:
        tiles = {"block_m": block_m, "block_n": block_n, "block_k": 64, "grid_block_n": grid_block_n}
        return jax.jit(lambda x, w, sizes: ragged_dot(x, w, group_sizes=sizes, max_concurrent_steps=4, **tiles))

    calls = [tiled(64, 256, 1), tiled(128, 128, 1), tiled(128, 128, 2), tiled(64, 128, 2)]
    return fastest(calls), lambda x, w: (x, w, sizes)


def fastest(calls: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    """The one of `calls` that is quickest on the inputs of the first call; those that do not run there are left out.

    The first call raises what the last of them raised if none runs.
    """
    chosen: list[Callable[..., Any]] = []

    def call(*inputs: Any) -> Any:
        if not chosen:
            chosen.append(_quickest(calls, inputs))
        return chosen[0](*inputs)

    return call


def _quickest(calls: Sequence[Callable[..., Any]], inputs: tuple) -> Callable[..., Any]:
    took_s: dict[Callable[..., Any], float] = {}
    for call in calls:
        try:
            jax.block_until_ready(call(*inputs))
        except Exception as fault:  # tiles that do not fit
            last_fault = fault
            continue
        start = time.perf_counter()
        jax.block_until_ready([call(*inputs) for _ in range(3)])
        took_s[call] = time.perf_counter() - start
    if not took_s:
        raise last_fault
    return min(took_s, key=took_s.__getitem__)
