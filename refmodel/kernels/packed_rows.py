"""Few rows times packed weights in one Pallas-Triton kernel, for CUDA and ROCm: a decode step's products.

Matrix units have nothing to do there, and decode a tile before they multiply by it.  Here a program owns some outputs
of one row of x; a thread reads 16 neighbouring bytes at a time, and all that a program needs is on its way together.
A level n goes into the mantissa of a float32, without a conversion, as base + n for a base of 16 or 256.  That and what
a coding adds to its levels is taken off the sum, 32 neighbours (a chunk) at a time:

    sum(weight · x) = scale · (sum((base + n) · x) + (offset - base) · sum(x)) - minimum · sum(x)

Weights are those of `Coding.decode`, in float32: nothing rounds them to the dtype of x.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.kernels.matmul_tiles import PackedRowTiles, packed_row_tiles
from attention.kernels.ref import Ref
from attention.kernels.target import current_target
from refmodel.gating import gated_by_exp2
from refmodel.kernels.packed_ptx import ptx_dots
from refmodel.packed.coding import Coding
from refmodel.packed.packed import Packed
from refmodel.packed.planes import LANES
from refmodel.parts import Activation

NAME: Final = "packed_rows"
MOST_ROWS: Final = {4: 4, 8: 3}
"""Of x times one matrix, by the bits of a level: each row decodes the weights for itself.  Measured on an H200."""


def takes(stacks: Sequence[jax.Array | Packed], rows: int = 1) -> TypeGuard[tuple[Packed, ...]]:
    """Whether the kernel multiplies so few rows by them all: levels plus an offset, and scales of whole chunks."""
    return all(
        isinstance(stack, Packed)
        and _offset(stack.coding) is not None
        and stack.coding.group_size(stack.shape[-1]) % LANES == 0
        and rows <= MOST_ROWS[stack.coding.bits]
        for stack in stacks
    )


def _offset(coding: Coding) -> float | None:
    """What makes a level 0 .. 2^bits - 1 its number, where a sum does; a signed byte's level begins at -128."""
    if coding.bits == 8 and coding.byte_dtype == jnp.int8:
        level = np.arange(-128, 128, dtype=np.int8)
    elif coding.bits == 4:
        level = np.arange(16, dtype=np.int32)
    else:
        return None
    with jax.ensure_compile_time_eval():
        number = np.asarray(coding.number(jnp.asarray(level)))
    steps = number - np.arange(len(level))
    return float(steps[0]) if (steps == steps[0]).all() else None


class Slot(NamedTuple):
    """A row of x and the place in the stacks of the matrix that it is multiplied by: a layer, and an expert of it."""

    x: jax.Array
    place: tuple[jax.Array, ...]


def project_packed_rows(
    x_rd: jax.Array, stacks_lfd: tuple[Packed, ...], layer: jax.Array, *, dtype: Any = None,
    tiles: PackedRowTiles | None = None, interpret: bool = False,
) -> tuple[jax.Array, ...]:  # fmt: skip
    """x·W[layer] for each packed W [L, F, D]: [rows, F] each, in `dtype` (None: that of x).

    For stacks that `takes` takes.  `tiles` are those of `attention.kernels.matmul_tiles` if None.  No derivative.
    """
    tiles, n_rows = tiles or packed_row_tiles(current_target()), len(x_rd)
    widths = [stack.shape[1] for stack in stacks_lfd]
    outputs = [_outputs(stack, tiles) for stack in stacks_lfd]  # of a program

    def kernel(layer_ref: Ref, x_ref: Ref, *refs: Ref) -> None:
        slot, block, first = Slot(pl.program_id(1), (layer_ref[0],)), pl.program_id(0), 0
        of_each = zip(refs[: len(widths)], refs[len(widths) :], widths, outputs, strict=True)
        for weight, out_ref, width, n in of_each:
            end = first + width // n

            def multiply(weight: Packed, out_ref: Ref, first: int, n: int) -> None:
                rows = pl.ds((block - first) * n, n)
                [total] = _sums(x_ref, slot, [weight], rows, tiles)
                out_ref[slot.x, rows] = total.astype(out_ref.dtype)

            pl.when((block >= first) & (block < end))(partial(multiply, weight, out_ref, first, n))
            first = end

    operands = jnp.asarray(layer, jnp.int32).reshape(1), x_rd, *map(_in_chunks, stacks_lfd)
    out = [jax.ShapeDtypeStruct((n_rows, width), dtype or x_rd.dtype) for width in widths]
    blocks = sum(width // n for width, n in zip(widths, outputs, strict=True))
    read_bytes = sum(stack.nbytes // stack.shape[0] for stack in stacks_lfd)
    run = _call(kernel, (blocks, n_rows), out, tiles, x_rd.size * sum(widths), read_bytes, interpret)
    return tuple(run(*operands))


def expert_packed_rows(
    x: jax.Array, stacks: tuple[Packed, ...], biases: tuple[jax.Array, ...] = (), *, layer: jax.Array,
    expert_s: jax.Array, choices: int = 1, scale_s: jax.Array | None = None, activation: Activation = "silu",
    tiles: PackedRowTiles | None = None, interpret: bool = False,
) -> jax.Array:  # fmt: skip
    """x[s // choices]·W[layer, expert_s], or gated(x·W0, x·W1) for two stacks [L, E, F, D]; then times `scale_s`.

    [slots, F] in x's dtype.  `biases` are as many [L, E, F] as stacks, each added to its product, or none; both stacks
    have as many bits, and `takes` takes them.  `tiles` are those of `attention.kernels.matmul_tiles` if None.  No
    derivative.
    """
    tiles = tiles or packed_row_tiles(current_target())
    slots, width = len(expert_s), stacks[0].shape[-2]
    n = _outputs(stacks[0], tiles)
    scales = () if scale_s is None else (scale_s,)

    def kernel(layer_ref: Ref, expert_ref: Ref, x_ref: Ref, *refs: Ref) -> None:
        weights, refs = refs[: len(stacks)], refs[len(stacks) :]
        *others, out_ref = refs
        bias_refs, scale_ref = others[: len(biases)], others[len(biases) :]
        s, rows = pl.program_id(1), pl.ds(pl.program_id(0) * n, n)
        slot = Slot(lax.div(s, choices), (layer_ref[0], expert_ref[s]))
        sums = _sums(x_ref, slot, weights, rows, tiles)
        if bias_refs:
            each = (ref[*slot.place, rows].astype(jnp.float32) for ref in bias_refs)
            sums = [total + bias for total, bias in zip(sums, each, strict=True)]
        out, *up = sums
        if up:
            out = gated_by_exp2(out, up[0], activation)
        if scale_ref:
            out = out * scale_ref[0][s].astype(jnp.float32)
        out_ref[s, rows] = out.astype(out_ref.dtype)

    integers = jnp.asarray(layer, jnp.int32).reshape(1), expert_s.astype(jnp.int32)
    read_bytes = slots * sum(stack.nbytes // (stack.shape[0] * stack.shape[1]) for stack in stacks)
    out, products = jax.ShapeDtypeStruct((slots, width), x.dtype), slots * width * x.shape[1] * len(stacks)
    run = _call(kernel, (width // n, slots), out, tiles, products, read_bytes, interpret)
    return run(*integers, x, *map(_in_chunks, stacks), *biases, *scales)


def _call(
    kernel: Callable[..., None], grid: tuple[int, int], out: Any, tiles: PackedRowTiles, products: int,
    read_bytes: int, interpret: bool,
) -> Callable[..., Any]:  # fmt: skip
    return pl.pallas_call(
        kernel, grid=grid, out_shape=out, interpret=interpret, name=NAME,
        compiler_params=plgpu.CompilerParams(num_warps=tiles.warps, num_stages=1),
        cost_estimate=pl.CostEstimate(flops=2 * products, transcendentals=0, bytes_accessed=read_bytes),
    )  # fmt: skip


def _plane(packed: Packed) -> tuple[str, int]:
    """The part that has the levels, and how many of them a byte has."""
    return ("byte", 1) if packed.coding.bits == 8 else ("low", 2)


def _in_chunks(packed: Packed) -> Packed:
    """Its bytes as [..., rows, chunks, 32]."""
    plane = packed.parts[name := _plane(packed)[0]]
    chunks = plane.reshape(*plane.shape[:-1], -1, LANES)
    return dataclasses.replace(packed, parts={**packed.parts, name: chunks})


def _step(packed: Packed, tiles: PackedRowTiles) -> int:
    """Runs of 32 bytes of a row that a program reads at a time."""
    return min(tiles.row_runs, pl.next_power_of_2(packed.shape[-1] // (LANES * _plane(packed)[1])))


def _outputs(packed: Packed, tiles: PackedRowTiles) -> int:
    """Of a program: a power of two that divides them all."""
    width = packed.shape[-2]
    return min(max(tiles.runs // _step(packed, tiles), 1), width & -width)


def _sums(x_ref: Ref, slot: Slot, weights: Sequence[Packed], rows: Any, tiles: PackedRowTiles) -> list[jax.Array]:
    """float32 [rows] for each of the stacks' references: a row of x times rows of the matrix at the slot's place."""
    size, (_, halves) = _step(weights[0], tiles), _plane(weights[0])
    n_runs = x_ref.shape[1] // (LANES * halves)

    def step(i: jax.Array | int, totals: Sequence[jax.Array]) -> list[jax.Array]:
        run_p = i * size + jnp.arange(size)
        exists_p = run_p < n_runs

        def x_of(half: int) -> jax.Array:
            at = (run_p * halves + half)[:, None] * LANES + jnp.arange(LANES)[None]
            mask = jnp.broadcast_to(exists_p[:, None], at.shape)
            return plgpu.load(x_ref.at[jnp.broadcast_to(slot.x, at.shape), at], mask=mask, other=0.0)

        x_pl = [x_of(half) for half in range(halves)]
        run = pl.ds(i * size, size), jnp.minimum(run_p, n_runs - 1), exists_p
        return [
            total + _products(weight, slot.place, rows, run, x_pl)
            for total, weight in zip(totals, weights, strict=True)
        ]

    totals, steps = [jnp.zeros((rows.size, size), jnp.float32)] * len(weights), pl.cdiv(n_runs, size)
    totals = lax.fori_loop(0, steps, step, totals)  # of one step too: jax 0.12 refuses known slices that end in a mask
    return [total.sum(1) for total in totals]


def _products(
    weight: Packed, place: tuple[jax.Array, ...], rows: Any, run: tuple[Any, jax.Array, jax.Array],
    x_pl: list[jax.Array],
) -> jax.Array:  # fmt: skip
    """float32 [rows, runs]: runs of 32 bytes times what x has for their halves; of runs that are not there 0."""
    coding, offset, (runs, run_p, exists_p) = weight.coding, _offset(weight.coding) or 0.0, run
    place = (weight.slot(place[0]), *place[1:])
    shape = rows.size, run_p.size
    mask = jnp.broadcast_to(exists_p[None, :, None], (*shape, LANES))
    plane: Ref = weight.parts[_plane(weight)[0]]
    held = plgpu.load(plane.at[*place, rows, runs, :], mask=mask, other=0)
    row_r, group_size = rows.start + jnp.arange(rows.size), coding.group_size(weight.shape[-1])
    x_rpl = [jnp.broadcast_to(x[None], held.shape).astype(jnp.float32) for x in x_pl]  # what threads exchange is small
    total = jnp.zeros(shape, jnp.float32)
    for half, (base, dot) in enumerate(_dots(held, x_rpl, coding.bits)):
        group_p = lax.div((run_p * len(x_pl) + half) * LANES, group_size)

        def read(name: str, group_p: jax.Array = group_p) -> jax.Array:
            field = coding.fields[name]
            part: Ref = weight.parts[name]
            index = *place, (row_r // field.rows)[:, None], (group_p // field.groups)[None]
            return plgpu.load(part.at[tuple(jnp.broadcast_to(i, shape) for i in index)])

        scale, minimum = coding.scales(read, group_p[None])
        x_sum = x_rpl[half].sum(2)  # where the products are: nothing is exchanged
        part = scale * (dot + (offset - base) * x_sum)
        total += part if minimum is None else part - minimum * x_sum
    return total


def _dots(held: jax.Array, x: list[jax.Array], bits: int) -> list[tuple[int, jax.Array]]:
    """`ptx_dots` on every target."""
    if (by_ptx := ptx_dots(held, x, bits)) is not None:
        return by_ptx
    word = held.astype(jnp.int32)
    if bits == 8:
        numbers = [(256, ((word & 255) ^ 128) << 15 | 0x43800000)]
    else:
        numbers = [(16, (word & 15) << 19 | 0x41800000), (16, (word >> 4) << 19 | 0x41800000)]
    return [
        (base, (lax.bitcast_convert_type(number, jnp.float32) * x).sum(-1))
        for (base, number), x in zip(numbers, x, strict=True)
    ]
