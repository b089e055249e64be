"""The experts' feed-forward as two Pallas-Triton kernels, for CUDA and ROCm.

The first gathers the rows of an expert's tile, multiplies them by the gate and up projections and writes what the gate
leaves (Shazeer, 2002.05202); the second multiplies by the down projection and by the router's weights and writes each
row back to its (token, choice) pair; a sum over choices is left to XLA.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from attention.kernels.matmul_tiles import MatmulTiles, few_row_tiles, matmul_tiles
from attention.kernels.row_tiles import each_apart, tile_rows
from attention.kernels.target import current_target
from refmodel.kernels import packed_rows
from refmodel.kernels.grouped_matmul import grouped_matmul, sides
from refmodel.packed.packed import Packed
from refmodel.parts import Activation

MOST_TOKENS = 65_536
"""Of a prompt that the experts take at a time: what they hold grows with it, and the weights are long amortised."""


def expert_ffn_pallas(
    x_td: jax.Array,
    expert_tk: jax.Array,
    weight_tk: jax.Array,
    gate_ledf: jax.Array | Packed,
    up_ledf: jax.Array | Packed,
    down_lefd: jax.Array | Packed,
    layer: jax.Array,
    biases: tuple[jax.Array, ...] = (),
    *,
    activation: Activation = "silu",
    tiles: MatmulTiles | None = None,
    interpret: bool = False,
    most_tokens: int = MOST_TOKENS,
) -> jax.Array:
    """sum over a token's choices of weight · (gated(x·gate, x·up)·down)_expert, [tokens, D] in x's dtype.

    Weights that are packed are [L, E, F, D], [L, E, F, D] and [L, E, D, F].  `biases` are those of the three products,
    [L, E, F], [L, E, F] and [L, E, D], or none; `tiles` are those of `attention.kernels.matmul_tiles` for this device
    if None.  Few rows are not sorted: each reads its expert's weights, which most have for themselves.  More than
    `most_tokens` are cut into equal lots, one after the other.  No derivative.  Raises `ValueError` for widths that are
    no multiple of 16.
    """
    tokens, choices = expert_tk.shape
    lots = -(-tokens // most_tokens)
    if lots > 1:
        per_lot = -(-tokens // lots)

        def in_lots(a: jax.Array) -> jax.Array:  # tokens beyond the last are computed like the others, and dropped
            return jnp.pad(a, [(0, lots * per_lot - tokens), (0, 0)]).reshape(lots, per_lot, a.shape[1])

        def of_lot(lot: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            return expert_ffn_pallas(
                *lot, gate_ledf, up_ledf, down_lefd, layer, biases, activation=activation, tiles=tiles,
                interpret=interpret, most_tokens=per_lot,
            )  # fmt: skip

        y_ltd = lax.map(of_lot, tuple(map(in_lots, (x_td, expert_tk, weight_tk))))
        return y_ltd.reshape(lots * per_lot, -1)[:tokens]
    n_experts, (d_model, d_ff) = gate_ledf.shape[1], sides(gate_ledf)

    stacks = gate_ledf, up_ledf, down_lefd
    packed = any(isinstance(stack, Packed) for stack in stacks)
    few = tokens * choices <= n_experts // 2  # most of them have an expert of their own
    if few and tiles is None and packed_rows.takes(stacks) and stacks[0].coding.bits == stacks[1].coding.bits:
        each = partial(packed_rows.expert_packed_rows, layer=layer, expert_s=expert_tk.reshape(-1), interpret=interpret)
        h_sf = each(x_td, stacks[:2], biases[:2], choices=choices, activation=activation)
        return _combined(each(h_sf, stacks[2:], biases[2:], scale_s=weight_tk.reshape(-1)), tokens)

    def tiles_for(depth: int) -> MatmulTiles:
        if few:
            return tiles or few_row_tiles(current_target(), x_td.dtype, tokens * choices, depth, packed)
        return tiles or matmul_tiles(current_target(), x_td.dtype, tokens * choices, n_experts, depth, packed)

    expert_r, row_tile = expert_tk.reshape(-1), tiles_for(d_model).rows
    table = each_apart(expert_r, row_tile) if few else tile_rows(expert_r, n_experts, row_tile)
    multiply = partial(grouped_matmul, layer=layer, table=table, interpret=interpret)
    h_sf = multiply(
        x_td, (gate_ledf, up_ledf), biases[:2], tiles=tiles_for(d_model), reads="token", writes="slot", choices=choices,
        activation=activation,
    )  # fmt: skip
    y_rd = multiply(h_sf, (down_lefd,), biases[2:], tiles=tiles_for(d_ff), reads="slot", scale_r=weight_tk.reshape(-1))
    return _combined(y_rd, tokens)


@jax.named_scope("combine")
def _combined(y_rd: jax.Array, tokens: int) -> jax.Array:
    """The sum over a token's choices, [tokens, D]."""
    return y_rd.reshape(tokens, -1, y_rd.shape[1]).sum(1, dtype=jnp.float32).astype(y_rd.dtype)
