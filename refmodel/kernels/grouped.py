"""The experts' feed-forward over rows sorted by expert, in plain XLA: no dropped token, no product over all experts.

Rows are cut into tiles that belong to one expert each; an int32 table says which.  Every tile reads its expert's
weights at (layer, expert) out of the whole [L, E, ...] stack, and expands no other where they are packed.
`jax.lax.ragged_dot` is no alternative: on GPUs it expands to a dense product over all experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attention.kernels.derivative import with_derivative_of
from attention.kernels.row_tiles import RowTiles, choose_row_tile, tile_rows
from attention.kernels.target import current_target, is_gpu
from refmodel.gating import gated
from refmodel.kernels.grouped_backward import rows_of_tile, with_gradients_by_tile
from refmodel.kernels.one_matrix import at, times_packed
from refmodel.packed.by_layer import PackedByLayer, by_coding
from refmodel.packed.packed import Packed
from refmodel.parts import Activation

Impl = Literal["auto", "blockwise", "pallas"]
Biases = tuple[Float[Array, "l e f"], Float[Array, "l e f"], Float[Array, "l e d"]] | tuple[()]
"""Of gate, up and down of each expert; none."""


def resolve_impl(impl: str, d_model: int, d_ff: int) -> str:
    """What will run: `auto` is the kernel on a GPU where it takes the widths; a named one is itself."""
    if impl not in get_args(Impl):
        raise ValueError(f"no implementation {impl!r} of the experts; accepted: {', '.join(get_args(Impl))}")
    if impl != "auto":
        return impl
    return "pallas" if is_gpu(current_target()) and d_model % 16 == d_ff % 16 == 0 else "blockwise"


@jax.named_scope("experts")
def expert_ffn(
    x_rd: Float[Array, "rows d"],
    expert_rk: Int[Array, "rows k"],
    weight_rk: Float[Array, "rows k"],
    gate_ledf: Float[Array, "l e d f"] | Packed | PackedByLayer,
    up_ledf: Float[Array, "l e d f"] | Packed | PackedByLayer,
    down_lefd: Float[Array, "l e f d"] | Packed | PackedByLayer,
    layer: Int[Array, ""],
    biases: Biases = (),
    row_tile: int | None = None,
    impl: str = "auto",
    activation: Activation = "silu",
) -> Float[Array, "rows d"]:
    """sum over a row's choices of weight · (gated(x·gate, x·up)·down)_expert, [rows, D] in x's dtype.

    Weights that are packed sum over their last axis: [L, E, F, D], [L, E, F, D] and [L, E, D, F].  A gradient by them
    is that of their scales; integers have none.  `biases` are added to the three products; `refmodel.gating.gated`
    says what an `activation` makes of the first two.
    `row_tile` is for `blockwise`; the kernel's tiles are those of `attention.kernels.matmul_tiles`.
    """
    plain = partial(_blockwise, activation=activation, row_tile=row_tile)

    def ffn(stacks: tuple[Any, ...]) -> jax.Array:
        operands = x_rd, expert_rk, weight_rk, *stacks, layer, biases
        if resolve_impl(impl, *gate_ledf.shape[2:]) == "pallas":
            from refmodel.kernels.grouped_pallas import expert_ffn_pallas  # loads Triton's compiler

            return with_derivative_of(plain, partial(expert_ffn_pallas, activation=activation))(*operands)
        return plain(*operands)

    return by_coding((gate_ledf, up_ledf, down_lefd), layer, ffn)


def _blockwise(
    x_rd: jax.Array, expert_rk: jax.Array, weight_rk: jax.Array, gate_ledf: jax.Array | Packed,
    up_ledf: jax.Array | Packed, down_lefd: jax.Array | Packed, layer: jax.Array, biases: tuple[jax.Array, ...], *,
    activation: Activation, row_tile: int | None,
) -> jax.Array:  # fmt: skip
    rows, choices = expert_rk.shape
    n_experts = gate_ledf.shape[1]
    tiles = tile_rows(expert_rk.reshape(-1), n_experts, row_tile or choose_row_tile(rows * choices, n_experts))
    run_tiles: Callable[..., jax.Array] = partial(_run_tiles, activation=activation, choices=choices)
    if not any(isinstance(stack, Packed) for stack in (gate_ledf, up_ledf, down_lefd)):

        def one_tile(x_td: jax.Array, weights: Any) -> jax.Array:
            *matrices, bias = weights
            return _ffn(x_td, [partial(_times, matrix) for matrix in matrices], bias, activation)

        run_tiles = with_gradients_by_tile(run_tiles, one_tile, choices)
    y_itd = run_tiles(x_rd, (gate_ledf, up_ledf, down_lefd, biases), layer, tiles)
    y_rkd = y_itd.reshape(-1, x_rd.shape[1])[tiles.place_r].reshape(rows, choices, -1)
    with jax.named_scope("combine"):
        return jnp.einsum("rk,rkd->rd", weight_rk, y_rkd.astype(jnp.float32)).astype(x_rd.dtype)


def _run_tiles(
    x_rd: jax.Array, stacks: Any, layer: jax.Array, tiles: RowTiles, *, activation: Activation, choices: int
) -> jax.Array:
    """[tiles, row_tile, D], 0 where no row is."""
    *matrices, biases = stacks

    def times(x: jax.Array, stack: jax.Array | Packed, expert: jax.Array) -> jax.Array:
        place = layer, expert
        return times_packed(x, stack, place) if isinstance(stack, Packed) else x @ at(stack, place)

    def run_tile(tile: tuple[jax.Array, jax.Array]) -> jax.Array:
        expert, row_t = tile
        _, x_td = rows_of_tile(x_rd, row_t, choices)
        products = [partial(times, stack=stack, expert=expert) for stack in matrices]
        return _ffn(x_td, products, tuple(at(stack, (layer, expert)) for stack in biases), activation)

    def skip_tile(tile: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jnp.zeros((tile[1].size, x_rd.shape[1]), x_rd.dtype)

    def one_tile(_: None, operand: tuple[jax.Array, tuple[jax.Array, jax.Array]]) -> tuple[None, jax.Array]:
        number, tile = operand
        return None, lax.cond(number < tiles.n_used, run_tile, skip_tile, tile)

    numbers = jnp.arange(tiles.group_i.size)
    _, y_itd = lax.scan(one_tile, None, (numbers, (tiles.group_i, tiles.row_it)))
    return y_itd


def _times(matrix: jax.Array, x: jax.Array) -> jax.Array:
    return x @ matrix


def _ffn(
    x_td: jax.Array, products: Sequence[Callable[[jax.Array], jax.Array]], biases: tuple[jax.Array, ...],
    activation: Activation,
) -> jax.Array:  # fmt: skip
    """Of one expert."""
    gate, up, down = products
    gate_f, up_f, down_d = biases or (0, 0, 0)
    return down(gated(gate(x_td) + gate_f, up(x_td) + up_f, activation)) + down_d
