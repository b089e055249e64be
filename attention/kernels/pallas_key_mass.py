"""How much probability each key drew, as one Pallas-Triton kernel, for CUDA and ROCm.

A program holds a tile of keys and walks over tiles of rows, where a row is one query in one head of the group that
reads these keys.  It adds probabilities up where they stand, [rows, keys] in registers, and sums over rows once, at the
end.  So a turn of the loop reads two numbers a row beside the queries, and nothing crosses lanes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.kernels.pallas_program import LOG2_E, exp2_ptx
from attention.kernels.ref import Ref
from attention.kernels.target import current_target
from attention.kernels.tiles import AttentionTiles, key_mass_tiles

NAME: Final = "key_mass"
"""Of the kernel in compiled programs."""

PROGRAMS: Final = 256
"""Rows are divided until there are so many programs: two for each multiprocessor of an H100."""


def key_mass_pallas(
    q_btnh: jax.Array,
    k_bskh: jax.Array,
    lse_bnt: jax.Array,
    slot_t: jax.Array,
    valid_bks: jax.Array,
    *,
    tiles: AttentionTiles | None = None,
    interpret: bool = False,
) -> jax.Array:
    """sum over queries t, and over the heads n that read key-value head k, of exp(q·k / sqrt(H) - lse): [B, K, S].

    A query at slot p sees the valid keys in slots 0..p; what it does not see gets 0 from it.  Every tile runs, seen or
    not, so that shapes alone say what the call costs.  No derivative.

    Args:
        q_btnh: bfloat16 or float16, or float32, for which XLA's products are faster; H a power of two in 16..256.
        k_bskh: in q's dtype; query head n reads key-value head n // (N / K).
        lse_bnt: float32, the log of what a query's softmax divides by; an infinite one stands for a query that sees
            nothing.
        slot_t: int32.
        valid_bks: [B or 1, K or 1, S].
        tiles: sizes of a program, else those of `attention.kernels.tiles` for this device.
        interpret: run the kernel as plain JAX, on any device.

    Returns:
        float32.

    Raises:
        ValueError: shapes that do not belong together, or a head size that the kernel is not made for.
    """
    (b, t, n, h), (s, kv_heads) = q_btnh.shape, k_bskh.shape[1:3]
    _check(q_btnh, k_bskh, lse_bnt, slot_t, valid_bks)
    tiles = tiles or key_mass_tiles(current_target(), q_btnh.dtype, h)
    group = n // kv_heads
    key_tiles, row_tiles = pl.cdiv(s, tiles.keys), pl.cdiv(t * group, tiles.rows)
    turns = pl.cdiv(row_tiles, max(1, PROGRAMS // (b * kv_heads * key_tiles)))
    parts = pl.cdiv(row_tiles, turns)

    def by_row(x: jax.Array, fill: float) -> jax.Array:  # [..., T·G], then whole programs
        return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, parts * turns * tiles.rows - t * group)], constant_values=fill)

    lse_bkgt = jnp.where(jnp.isinf(lse_bnt), jnp.inf, lse_bnt * LOG2_E).reshape(b, kv_heads, group, t)
    lse_bkr = by_row(lse_bkgt.swapaxes(2, 3).reshape(b, kv_heads, -1), jnp.inf)
    slot_r = by_row(jnp.repeat(slot_t.astype(jnp.int32), group), -1)
    pairs = b * kv_heads * key_tiles * tiles.keys * slot_r.size
    cost = pl.CostEstimate(
        flops=2 * pairs * h, transcendentals=pairs,
        bytes_accessed=q_btnh.dtype.itemsize * (q_btnh.size + k_bskh.size) + 4 * (lse_bkr.size + b * kv_heads * s),
    )  # fmt: skip
    mass_bkps = pl.pallas_call(
        partial(_kernel, static=_Static(turns, tiles), exp2=exp2_ptx if tiles.ptx and not interpret else jnp.exp2),
        grid=(key_tiles, parts, b * kv_heads),  # neighbours read the same queries
        in_specs=[
            pl.BlockSpec((None, t, None, group, h), lambda i, p, j: (j // kv_heads, 0, j % kv_heads, 0, 0)),
            pl.BlockSpec((None, s, None, h), lambda i, p, j: (j // kv_heads, 0, j % kv_heads, 0)),
            pl.BlockSpec((None, None, slot_r.size), lambda i, p, j: (j // kv_heads, j % kv_heads, 0)),
            pl.BlockSpec((slot_r.size,), lambda i, p, j: (0,)),
        ],
        out_specs=pl.BlockSpec((None, None, None, s), lambda i, p, j: (j // kv_heads, j % kv_heads, p, 0)),
        out_shape=jax.ShapeDtypeStruct((b, kv_heads, parts, s), jnp.float32),
        compiler_params=plgpu.CompilerParams(num_warps=tiles.warps, num_stages=tiles.stages),
        interpret=interpret,
        name=NAME,
        cost_estimate=cost,
    )(q_btnh.reshape(b, t, kv_heads, group, h), k_bskh, lse_bkr, slot_r)
    return jnp.where(valid_bks, mass_bkps.sum(2), 0)  # where, not times: an empty slot may hold anything


class _Static(NamedTuple):
    """What a kernel is compiled for."""

    turns: int  # tiles of rows that a program walks over
    tiles: AttentionTiles


def _kernel(
    q_ref: Ref, k_ref: Ref, lse_ref: Ref, slot_ref: Ref, mass_ref: Ref, *, static: _Static,
    exp2: Callable[[jax.Array], jax.Array],
) -> None:  # fmt: skip
    rows, keys = static.tiles.rows, static.tiles.keys
    (tokens, group, head_dim), slots = q_ref.shape, k_ref.shape[0]
    key = pl.program_id(0) * keys + jnp.arange(keys)
    first_row = pl.program_id(1) * static.turns * rows

    def load(ref: Ref, *index: jax.Array) -> jax.Array:
        """Every index an array of the whole tile: interpret mode takes no mixture of arrays and slices."""
        size = index[0].size, head_dim
        return ref[tuple(jnp.broadcast_to(x, size) for x in (*(x[:, None] for x in index), jnp.arange(head_dim)[None]))]

    k = load(k_ref, jnp.minimum(key, slots - 1))  # beyond the last: computed, and not stored
    # Products of 16-bit numbers are exact in the float32 that they are summed in, so converting the operands, as
    # `attention.eviction.policy.product` does, would choose no other keys; float32 must not become tf32.
    dot = partial(
        lax.dot_general,
        dimension_numbers=(((1,), (1,)), ((), ())),
        precision=lax.Precision.HIGHEST if k.dtype == jnp.float32 else None,
        preferred_element_type=jnp.float32,
    )

    def visit(turn: jax.Array, mass: jax.Array) -> jax.Array:
        first = first_row + turn * rows
        lse, slot = lse_ref[pl.ds(first, rows)], slot_ref[pl.ds(first, rows)]
        row = first + jnp.arange(rows)
        q = load(q_ref, jnp.minimum(lax.div(row, group), tokens - 1), lax.rem(row, group))  # beyond: lse is infinite
        probability = exp2(dot(q, k) * (LOG2_E / head_dim**0.5) - lse[:, None])
        return jnp.where(key[None] <= slot[:, None], mass + probability, mass)  # one addition under a predicate

    mass = lax.fori_loop(0, static.turns, visit, jnp.zeros((rows, keys), jnp.float32))
    plgpu.store(mass_ref.at[key], mass.sum(0), mask=key < slots)


def _check(q_btnh: jax.Array, k_bskh: jax.Array, lse_bnt: jax.Array, slot_t: jax.Array, valid_bks: jax.Array) -> None:
    """Raises `ValueError` for shapes that do not belong together, in one line."""
    (b, t, n, h), (s, k) = q_btnh.shape, k_bskh.shape[1:3]
    if n % k:
        raise ValueError(f"{n} query heads are not a multiple of {k} key-value heads")
    if h not in (16, 32, 64, 128, 256):
        raise ValueError(f"the kernel takes head sizes 16, 32, 64, 128 and 256, got {h}")
    if k_bskh.dtype != q_btnh.dtype:
        raise ValueError(f"k must be of q's dtype {q_btnh.dtype}, got {k_bskh.dtype}")
    sides = {
        "k_bskh": (k_bskh, ((b,), (s,), (k,), (h,))),
        "lse_bnt": (lse_bnt, ((b,), (n,), (t,))),
        "slot_t": (slot_t, ((t,),)),
        "valid_bks": (valid_bks, ((b, 1), (k, 1), (s,))),
    }
    for name, (array, accepted) in sides.items():
        if len(array.shape) != len(accepted) or any(x not in y for x, y in zip(array.shape, accepted, strict=True)):
            raise ValueError(f"{name} must have sizes out of {accepted}, got {array.shape}")
