"""The experts' feed-forward as two Pallas-Triton kernels, for CUDA and ROCm.

The first gathers the rows of an expert's tile, multiplies them by the gate and up projections and writes what the gate
leaves (Shazeer, 2002.05202); the second multiplies by the down projection and by the router's weights and writes each
row back to its (token, choice) pair; a sum over choices is left to XLA.  Weights are read out of the whole [L, E, ...]
stacks at (layer, expert), so that scanning over layers copies nothing.  A tile that holds few rows computes few.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.kernels.ref import Ref
from attention.kernels.row_tiles import RowTiles, each_apart, tile_rows
from attention.kernels.target import current_target
from attention.kernels.tiles import LEAST_DIVISOR, MatmulTiles, block_columns, few_row_tiles, matmul_tiles
from refmodel.gating import gated_by_exp2
from refmodel.parts import Activation

Rows = Literal["slot", "row", "token"]
"""What rows of an operand stand for: places in the tile table, the rows that it sorts, or those divided by choices."""

MOST_TOKENS = 65_536
"""Of a prompt that the experts take at a time: what they hold grows with it, and the weights are long amortised."""


def expert_ffn_pallas(
    x_td: jax.Array,
    expert_tk: jax.Array,
    weight_tk: jax.Array,
    gate_ledf: jax.Array,
    up_ledf: jax.Array,
    down_lefd: jax.Array,
    layer: jax.Array,
    biases: tuple[jax.Array, ...] = (),
    *,
    activation: Activation = "silu",
    tiles: MatmulTiles | None = None,
    interpret: bool = False,
    most_tokens: int = MOST_TOKENS,
) -> jax.Array:
    """sum over a token's choices of weight · (gated(x·gate, x·up)·down)_expert, [tokens, D] in x's dtype.

    `biases` are those of the three products, [L, E, F], [L, E, F] and [L, E, D], or none; `tiles` are those of
    `attention.kernels.tiles` for this device if None.  Few rows are not sorted: each reads its expert's weights, which
    most have for themselves.  More than `most_tokens` are cut into equal lots, one after the other.  No derivative.
    Raises `ValueError` for widths that are no multiple of 16.
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
    n_experts, d_model, d_ff = gate_ledf.shape[1:]

    few = tokens * choices <= n_experts // 2  # most of them have an expert of their own

    def tiles_for(depth: int) -> MatmulTiles:
        if few:
            return tiles or few_row_tiles(current_target(), x_td.dtype, tokens * choices, depth)
        return tiles or matmul_tiles(current_target(), x_td.dtype, tokens * choices, n_experts, depth)

    expert_r, row_tile = expert_tk.reshape(-1), tiles_for(d_model).rows
    table = each_apart(expert_r, row_tile) if few else tile_rows(expert_r, n_experts, row_tile)
    multiply = partial(grouped_matmul, layer=layer, table=table, interpret=interpret)
    h_sf = multiply(
        x_td, (gate_ledf, up_ledf), biases[:2], tiles=tiles_for(d_model), reads="token", writes="slot", choices=choices,
        activation=activation,
    )  # fmt: skip
    y_rd = multiply(h_sf, (down_lefd,), biases[2:], tiles=tiles_for(d_ff), reads="slot", scale_r=weight_tk.reshape(-1))
    with jax.named_scope("combine"):
        return y_rd.reshape(tokens, choices, -1).sum(1, dtype=jnp.float32).astype(x_td.dtype)


def grouped_matmul(
    x: jax.Array,
    weights: tuple[jax.Array, ...],
    biases: tuple[jax.Array, ...] = (),
    *,
    layer: jax.Array,
    table: RowTiles,
    tiles: MatmulTiles,
    reads: Rows = "row",
    writes: Rows = "row",
    choices: int = 1,
    scale_r: jax.Array | None = None,
    activation: Activation = "silu",
    interpret: bool = False,
) -> jax.Array:
    """x·W[layer, expert of the row], or gated(x·W0, x·W1) for two weights; then times `scale_r`.

    Args:
        x: [rows, depth], its rows standing for what `reads` says.
        weights: one or two stacks [L, E, depth, width].
        biases: as many [L, E, width], each added to its product, or none.
        layer: int32 scalar.
        table: rows by expert, cut with `tiles.rows`.
        writes: `slot` or `row`; slots that hold no row are left unwritten.
        choices: rows of a token, for `reads="token"`.
        scale_r: [rows of the table].

    Raises:
        ValueError: a depth or width that is no multiple of 16.
    """
    depth, width = weights[0].shape[2:]
    for name, size in (("depth", depth), ("width", width)):
        if size % LEAST_DIVISOR:
            raise ValueError(f"the kernel takes weights whose {name} is a multiple of {LEAST_DIVISOR}, got {size}")
    static = _Static(
        tiles.rows,
        tiles.least_rows,
        columns=block_columns(tiles.columns // len(weights), width),
        depth=min(tiles.depth, depth & -depth),  # a power of two that divides the side
        reads=reads,
        writes=writes,
        choices=choices,
        activation=activation,
    )
    scales = () if scale_r is None else (scale_r,)
    rows = (table.row_it if writes == "slot" else table.place_r).size
    padded_rows = table.group_i.size * tiles.rows  # as many as any routing may need
    blocks = pl.cdiv(width, static.columns)
    values = rows * width + sum(weight[0].size for weight in weights) + x.size
    cost = pl.CostEstimate(
        flops=2 * padded_rows * depth * blocks * static.columns * len(weights), transcendentals=0,
        bytes_accessed=values * x.dtype.itemsize,
    )  # fmt: skip
    integers = (jnp.asarray(a, jnp.int32) for a in (layer.reshape(1), table.n_used.reshape(1), *table[:2]))
    return pl.pallas_call(
        partial(_kernel, static=static, n_weights=len(weights), n_biases=len(biases)),
        grid=(blocks, table.group_i.size),  # a tile's columns side by side: they share its rows
        out_shape=jax.ShapeDtypeStruct((rows, width), x.dtype),
        compiler_params=plgpu.CompilerParams(num_warps=tiles.warps, num_stages=tiles.stages),
        interpret=interpret,
        name="grouped_matmul",
        cost_estimate=cost,
    )(x, *weights, *biases, *integers, *scales)


class _Static(NamedTuple):
    """What a kernel is compiled for; sizes of one program."""

    rows: int
    least_rows: int
    columns: int
    depth: int
    reads: Rows
    writes: Rows
    choices: int
    activation: Activation


def _kernel(x_ref: Ref, *refs: Ref, static: _Static, n_weights: int, n_biases: int) -> None:
    stacks = n_weights + n_biases
    product_refs, (layer_ref, used_ref, expert_ref, row_ref, *scale_ref, out_ref) = refs[:stacks], refs[stacks:]
    weight_refs, bias_refs = product_refs[:n_weights], product_refs[n_weights:]
    tile, width = pl.program_id(1), out_ref.shape[1]
    # The last columns begin early enough to be whole: what they share with those before them is computed twice.
    start = pl.multiple_of(jnp.minimum(pl.program_id(0) * static.columns, width - static.columns), LEAST_DIVISOR)

    @pl.when(tile < used_ref[0])
    def _() -> None:
        held = (row_ref[tile, :] >= 0).astype(jnp.int32).sum()  # rows come first in their tile
        size, below = static.least_rows, 0
        while below < static.rows:
            place = _Place(layer_ref[0], expert_ref[tile], tile, row_ref[tile, pl.ds(0, size)], start)
            compute = partial(_compute, x_ref, weight_refs, bias_refs, scale_ref, out_ref, place, static)
            pl.when((held > below) & (held <= size))(compute)
            size, below = 2 * size, size


class _Place(NamedTuple):
    """Where a program stands: its tile, the first rows of that, and its first column."""

    layer: jax.Array
    expert: jax.Array
    tile: jax.Array
    row: jax.Array
    column: jax.Array


def _compute(
    x_ref: Ref, weight_refs: Ref, bias_refs: Ref, scale_ref: Ref, out_ref: Ref, place: _Place, static: _Static
) -> None:
    """The first rows of a tile by one block of columns."""
    layer, expert, tile, row, start = place
    size, exists = row.size, row >= 0
    slots = pl.ds(tile * static.rows, size)

    def at(ref: Ref, row: jax.Array, column: jax.Array) -> Ref:
        """Every index an array of the whole block: interpret mode takes no mixture of arrays and slices."""
        block = size, column.size
        return ref.at[jnp.broadcast_to(row[:, None], block), jnp.broadcast_to(column[None], block)]

    def load_rows(first: jax.Array) -> jax.Array:
        if static.reads == "slot":
            return x_ref[slots, pl.ds(first, static.depth)]
        source = jnp.maximum(row, 0) // static.choices
        block = at(x_ref, source, first + jnp.arange(static.depth))
        return plgpu.load(block, mask=jnp.broadcast_to(exists[:, None], (size, static.depth)), other=0.0)

    def step(i: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        x = load_rows(i * static.depth)
        blocks = (ref[layer, expert, pl.ds(i * static.depth, static.depth), pl.ds(start, static.columns)]
                  for ref in weight_refs)  # fmt: skip
        return tuple(total + _product(x, w) for total, w in zip(sums, blocks, strict=True))

    zeros = jnp.zeros((size, static.columns), jnp.float32)
    sums = lax.fori_loop(0, x_ref.shape[1] // static.depth, step, (zeros,) * len(weight_refs))
    if bias_refs:
        biases = (ref[layer, expert, pl.ds(start, static.columns)].astype(jnp.float32) for ref in bias_refs)
        sums = tuple(total + bias[None] for total, bias in zip(sums, biases, strict=True))
    out, *up = sums
    if up:
        out = gated_by_exp2(out, up[0], static.activation)
    if scale_ref:
        scale = plgpu.load(scale_ref[0].at[jnp.maximum(row, 0)], mask=exists, other=0.0)
        out = out * scale.astype(jnp.float32)[:, None]
    out = out.astype(out_ref.dtype)
    if static.writes == "slot":
        out_ref[slots, pl.ds(start, static.columns)] = out
    else:
        nowhere = out_ref.shape[0]
        block = at(out_ref, jnp.where(exists, row, nowhere), start + jnp.arange(static.columns))
        plgpu.store(block, out, mask=jnp.broadcast_to(exists[:, None], out.shape))


def _product(x: jax.Array, w: jax.Array) -> jax.Array:
    exact = lax.Precision.HIGHEST if x.dtype == jnp.float32 else None
    return lax.dot_general(x, w, (((1,), (0,)), ((), ())), precision=exact, preferred_element_type=jnp.float32)
