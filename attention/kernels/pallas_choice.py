"""Which blocks of keys a query chooses, as one Pallas-Triton kernel, for CUDA and ROCm.

A program has the gates of a tile of rows in registers, where a row is one query in one head, and takes the greatest out
of them one after the other.  So no gate is ever in memory, of which there are as many as queries and blocks.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.kernels.ref import Ref
from attention.kernels.target import is_gpu

NAME: Final = "choose_blocks"
"""Of the kernel in compiled programs."""

MOST_BLOCKS, MOST_CHOICES = 512, 16
"""Whose gates fit the registers of a program, and what it pays to look for one after the other."""

GATES, MOST_ROWS, WARPS = 8192, 128, 4
"""Of one program."""

DEPTH: Final = 32
"""Of the contraction in one step, so that few bytes of shared memory hold all blocks."""

PARTS: Final = 3
"""bfloat16 numbers whose sum is a float32: 8 bits of its 24 each."""


def choice_cannot(q_btnh: jax.Array, n_blocks: int, choices: int, target: str) -> str | None:
    """Why the kernel cannot choose for such queries on `target`, None if it can."""
    if not is_gpu(target):
        return f"the kernel runs on GPUs, this is {target}"
    if q_btnh.dtype != jnp.bfloat16 or q_btnh.shape[-1] not in (16, 32, 64, 128, 256):
        return f"the kernel takes bfloat16 heads of 16, 32, 64, 128 and 256, got {q_btnh.dtype} of {q_btnh.shape[-1]}"
    if n_blocks > MOST_BLOCKS or choices > MOST_CHOICES:
        return f"the kernel chooses up to {MOST_CHOICES} of {MOST_BLOCKS} blocks, got {choices} of {n_blocks}"
    return None


def choose_blocks_pallas(
    q_btnh: jax.Array, mean_bkch: jax.Array, own_bt: jax.Array, choices: int, *, interpret: bool = False
) -> jax.Array:
    """The earlier blocks with the greatest q · mean, int32 [choices, B, T, N]; -1 where there are not so many.

    The earlier of equals comes first.  Gates are sums of exact products in float32: a mean is three bfloat16 numbers.
    No derivative.

    Args:
        q_btnh: bfloat16; query head n reads key-value head n // (N / K).
        mean_bkch: float32, one mean key a block.
        own_bt: int32, the block that a query stands in; it chooses of those before.

    Raises:
        ValueError: what `choice_cannot` says no to.
    """
    (b, t, n, h), (_, k, n_blocks, _) = q_btnh.shape, mean_bkch.shape
    if reason := choice_cannot(q_btnh, n_blocks, choices, "gfx1201"):  # that there is a GPU is the caller's business
        raise ValueError(reason)
    columns, group = max(16, pl.next_power_of_2(n_blocks)), n // k
    rows = max(16, min(MOST_ROWS, GATES // columns))
    mean_pbkch = _parts(jnp.pad(mean_bkch, [(0, 0), (0, 0), (0, columns - n_blocks), (0, 0)]))
    row_tiles = pl.cdiv(t * group, rows)
    gates = b * k * row_tiles * rows * columns
    return pl.pallas_call(
        partial(_kernel, rows=rows),
        grid=(row_tiles, k, b),
        in_specs=[
            pl.BlockSpec((None, t, None, group, h), lambda i, j, b: (b, 0, j, 0, 0)),
            pl.BlockSpec((PARTS, None, None, columns, h), lambda i, j, b: (0, b, j, 0, 0)),
            pl.BlockSpec((None, t), lambda i, j, b: (b, 0)),
        ],
        out_specs=pl.BlockSpec((choices, None, t, None, group), lambda i, j, b: (0, b, 0, j, 0)),
        out_shape=jax.ShapeDtypeStruct((choices, b, t, k, group), jnp.int32),
        compiler_params=plgpu.CompilerParams(num_warps=WARPS, num_stages=1),
        interpret=interpret,
        name=NAME,
        cost_estimate=pl.CostEstimate(
            flops=PARTS * 2 * gates * h, transcendentals=0,
            bytes_accessed=2 * (q_btnh.size + mean_pbkch.size) + 4 * choices * b * t * n,
        ),
    )(q_btnh.reshape(b, t, k, group, h), mean_pbkch, own_bt.astype(jnp.int32)).reshape(choices, b, t, n)  # fmt: skip


def _parts(mean_bkch: jax.Array) -> jax.Array:
    """Three bfloat16 numbers whose sum each float32 is, the least first, [parts, B, K, C, H]."""
    parts: list[jax.Array] = []
    rest = mean_bkch
    for _ in range(PARTS):  # a conversion there and back is one that XLA may leave out
        part = lax.reduce_precision(rest, exponent_bits=8, mantissa_bits=7)
        parts, rest = [part.astype(jnp.bfloat16), *parts], rest - part
    return jnp.stack(parts)


def _kernel(q_ref: Ref, mean_ref: Ref, own_ref: Ref, choice_ref: Ref, *, rows: int) -> None:
    (tokens, group, head_dim), (parts, columns, _) = q_ref.shape, mean_ref.shape
    depth = min(DEPTH, head_dim)
    row = pl.program_id(0) * rows + jnp.arange(rows)
    token, head = lax.div(row, group), lax.rem(row, group)
    exists = token < tokens
    here = jnp.minimum(token, tokens - 1)  # rows beyond the last are computed, and not stored

    def add(step: jax.Array, gate_rc: jax.Array) -> jax.Array:
        """Every index an array of the whole tile: interpret mode takes no mixture of arrays and slices."""
        at = here[:, None], head[:, None], step * depth + jnp.arange(depth)[None]
        q = q_ref[tuple(jnp.broadcast_to(x, (rows, depth)) for x in at)]
        for part in range(parts):
            mean = mean_ref[part, :, pl.ds(step * depth, depth)]
            gate_rc += lax.dot_general(q, mean, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
        return gate_rc

    gate_rc = lax.fori_loop(0, head_dim // depth, add, jnp.zeros((rows, columns), jnp.float32))
    block = jnp.broadcast_to(jnp.arange(columns)[None], gate_rc.shape)
    gate_rc = jnp.where(block < own_ref[here][:, None], gate_rc, -jnp.inf)
    for choice in range(choice_ref.shape[0]):
        best_r = jnp.argmax(gate_rc, axis=1).astype(jnp.int32)
        chosen_r = jnp.where(gate_rc.max(1) == -jnp.inf, -1, best_r)
        plgpu.store(choice_ref.at[jnp.full(rows, choice), token, head], chosen_r, mask=exists)
        gate_rc = jnp.where(block == best_r[:, None], -jnp.inf, gate_rc)
