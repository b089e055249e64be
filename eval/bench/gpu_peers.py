"""The contenders of `eval.bench.gpu_kernels`: ours and the peers that the machine has, on identical inputs.

A contender is made from a case; it is a pair (call, inputs -> its own inputs), or raises `Skip` with the reason.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attention.attend import attend, choose_impl
from attention.backends.base import Request
from attention.backends.registry import BACKENDS
from attention.backends.tokamax import import_tokamax
from attention.kernels.mosaic_spans import attend_mosaic_spans
from attention.kernels.pallas_attention import attend_pallas
from attention.kernels.row_tiles import tile_rows
from attention.kernels.target import current_target
from attention.pattern import SpanPattern, Spans
from eval.bench.gpu_cases import AttentionCase, Contender, MatmulCase, Skip
from eval.bench.jax_peers import jax_mha, jax_ragged_dot
from refmodel.kernels.grouped_matmul import grouped_matmul


def same(*inputs: jax.Array) -> tuple:
    return inputs


# -------------------------------------------------------------------------------------------------- attention


def ours(case: AttentionCase) -> Contender:
    """Routed queries are sorted by (span, position), and put back in order: both are part of the call."""
    pos = jnp.arange(case.tokens, dtype=jnp.int32)
    span = jnp.asarray(case.span_t, jnp.int32)
    no_sinks = jnp.zeros(1, jnp.int32)

    def in_order(q: jax.Array, k: jax.Array, v: jax.Array, span_t: jax.Array) -> jax.Array:
        return attend_pallas(q, k, v, pos[None, None], pos[None, None], span_t[None, None], no_sinks)[0]

    def packed(q: jax.Array, k: jax.Array, v: jax.Array, span_t: jax.Array) -> jax.Array:
        order = jnp.argsort(span_t)  # stable: by position within one span
        out, *_ = attend_pallas(
            q[:, order], k, v, order[None, None], pos[None, None], span_t[order][None, None], no_sinks
        )
        return out[:, jnp.argsort(order)]

    return jax.jit(packed if case.routed else in_order), lambda q, k, v: (q, k, v, span)


def hopper(case: AttentionCase) -> Contender:
    """What `auto` takes on an H100, packing included."""
    pos = jnp.arange(case.tokens, dtype=jnp.int32)
    span = jnp.asarray(case.span_t, jnp.int32)[None, None]
    spans = Spans(span if case.routed else span[..., :1], jnp.zeros(1, jnp.int32), tuple(np.unique(case.span_t)))
    q, kv = case.shapes
    chosen = choose_impl(q, kv, spans, order="prompt")
    if chosen != "mosaic":
        raise Skip(f"auto takes {chosen} here")

    def call(q: jax.Array, k: jax.Array, v: jax.Array, span: jax.Array) -> jax.Array:
        return attend_mosaic_spans(q, k, v, pos[None], pos[None, None], spans._replace(span_bmt=span)).out_btnh

    return jax.jit(call), lambda q, k, v: (q, k, v, spans.span_bmt)


def nvidia(library: str, case: AttentionCase) -> Contender:
    pattern = SpanPattern() if case.window is None else SpanPattern((case.window,))
    q, kv = case.shapes
    reason = BACKENDS[library].cannot(Request(q, kv, pattern, "prompt", need_lse=False, target=current_target()))
    if reason:
        raise Skip(reason)
    pos = jnp.arange(case.tokens, dtype=jnp.int32)

    def call(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return attend(q, k, v, pos[None], pos[None, None], pattern, impl=library, order="prompt").out_btnh

    return jax.jit(call), same


def flash_attention_3(case: AttentionCase) -> Contender:
    _need("flash_attn3_jax")
    from flash_attn3_jax import flash_mha

    window = (-1, -1) if case.window is None else (case.window - 1, 0)
    return jax.jit(lambda q, k, v: flash_mha(q, k, v, is_causal=True, window_size=window)), same


def flex_attention(case: AttentionCase) -> Contender:
    _need("torch")
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    if case.routed:
        raise Skip("a mask of blocks for each prompt is not written")
    window = case.window

    def mask(b: Any, h: Any, i: Any, j: Any) -> Any:
        return (i >= j) if window is None else (i >= j) & (i - j < window)

    blocks = create_block_mask(mask, None, None, case.tokens, case.tokens, device="cuda")
    return partial(torch.compile(flex_attention, dynamic=False), block_mask=blocks, enable_gqa=True), _heads_first


def sdpa_flash(case: AttentionCase) -> Contender:
    _need("torch")
    import torch

    if case.window is not None:
        raise Skip("takes no window without a dense mask")

    def call(q: Any, k: Any, v: Any) -> Any:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    return call, _heads_first


ATTENTION: dict[str, Callable[[AttentionCase], Contender]] = {
    "ours": ours,
    "ours, Hopper": hopper,
    "cudnn": partial(nvidia, "cudnn"),
    "tokamax": partial(nvidia, "tokamax"),
    "flash-attention-3": flash_attention_3,
    "flex-attention": flex_attention,
    "sdpa flash": sdpa_flash,
    "jax mha": jax_mha,
}


# ------------------------------------------------------------------------------------------------------ experts


def our_matmul(case: MatmulCase) -> Contender:
    tiles = case.tiles
    table = jax.jit(partial(tile_rows, n_groups=case.experts, row_tile=tiles.rows))(jnp.asarray(case.expert_r))
    layer = jnp.int32(0)

    def call(x: jax.Array, w: jax.Array, table: Any, layer: jax.Array) -> jax.Array:
        return grouped_matmul(x, (w[None],), layer=layer, table=table, tiles=tiles)

    return jax.jit(call), lambda x, w: (x, w, table, layer)


def tokamax_matmul(case: MatmulCase) -> Contender:
    _need("tokamax")
    sizes = jnp.asarray(case.group_sizes, jnp.int32)
    return jax.jit(partial(import_tokamax().ragged_dot, implementation="mosaic")), lambda x, w: (x, w, sizes)


def torch_matmul(case: MatmulCase) -> Contender:
    _need("torch")
    import torch

    ends = torch.tensor(np.cumsum(case.group_sizes), dtype=torch.int32, device="cuda")
    return partial(torch._grouped_mm, offs=ends), lambda x, w: (torch.from_dlpack(x), torch.from_dlpack(w))


MATMUL: dict[str, Callable[[MatmulCase], Contender]] = {
    "ours": our_matmul,
    "tokamax": tokamax_matmul,
    "torch grouped_mm": torch_matmul,
    "jax ragged_dot_mgpu": jax_ragged_dot,
}


def _need(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise Skip(f"{module} is not installed")


def _heads_first(*inputs: jax.Array) -> tuple:
    import torch

    return tuple(torch.from_dlpack(x).transpose(1, 2).contiguous() for x in inputs)
