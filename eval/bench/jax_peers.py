"""The GPU kernels that jax ships as examples, as contenders of `eval.bench.gpu_kernels`.

They leave their tiles to the caller: the fastest of a few is taken.  Of `attention_mgpu` there is none, for its buffers
are float16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from eval.bench.chain import chain_ms
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
    calls = {f"{q}x{k}": tiled(q, k) for q, k in ((128, 128), (128, 64), (64, 64))}
    return Fastest(calls), lambda q, k, v: (q, repeat(k), repeat(v))


def jax_ragged_dot(case: MatmulCase) -> Contender:
    """Pallas-Mosaic for Hopper, rows sorted by expert."""
    from jax.experimental.pallas.ops.gpu.ragged_dot_mgpu import ragged_dot

    sizes = jnp.asarray(case.group_sizes, jnp.int32)

    def tiled(block_m: int, block_n: int, grid_block_n: int) -> Callable[..., jax.Array]:
        tiles: dict[str, Any] = {"block_m": block_m, "block_n": block_n, "block_k": 64, "grid_block_n": grid_block_n}
        return jax.jit(lambda x, w, sizes: ragged_dot(x, w, group_sizes=sizes, max_concurrent_steps=4, **tiles))

    sides = (64, 256, 1), (128, 128, 1), (128, 128, 2), (64, 128, 2)
    calls = {f"{m}x{n}x64, {wide} wide": tiled(m, n, wide) for m, n, wide in sides}
    return Fastest(calls), lambda x, w: (x, w, sizes)


class Fastest:
    """The one of `calls`, by name, that is quickest on the inputs of the first call, and its name as `chosen`.

    Those that do not run there are left out; the first call raises what the last of them raised if none runs.
    """

    def __init__(self, calls: Mapping[str, Callable[..., Any]]):
        self.calls = calls
        self.chosen: str | None = None

    def __call__(self, *inputs: Any) -> Any:
        if self.chosen is None:
            self.chosen = _quickest(self.calls, inputs)
        return self.calls[self.chosen](*inputs)


def _quickest(calls: Mapping[str, Callable[..., Any]], inputs: tuple) -> str:
    took_ms: dict[str, float] = {}
    for name, call in calls.items():
        try:
            chain_ms(call, [inputs], 2)
        except Exception as fault:  # tiles that do not fit
            last_fault = fault
        else:
            took_ms[name] = chain_ms(call, [inputs], 10)
    if not took_ms:
        raise last_fault
    return min(took_ms, key=took_ms.__getitem__)
