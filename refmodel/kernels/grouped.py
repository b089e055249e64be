"""The experts' feed-forward over rows sorted by expert, in plain XLA: no dropped token, no product over all experts.

Rows are cut into tiles that belong to one expert each; an int32 table says which.  Every tile reads its expert's
weights at (layer, expert) out of the whole [L, E, ...] stack.  `jax.lax.ragged_dot` is no alternative: on GPUs it
expands to a dense product over all experts.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attention.kernels.derivative import with_derivative_of
from attention.kernels.row_tiles import choose_row_tile, tile_rows
from attention.kernels.target import current_target, is_gpu
from refmodel.gating import gated
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
    gate_ledf: Float[Array, "l e d f"],
    up_ledf: Float[Array, "l e d f"],
    down_lefd: Float[Array, "l e f d"],
    layer: Int[Array, ""],
    biases: Biases = (),
    row_tile: int | None = None,
    impl: str = "auto",
    activation: Activation = "silu",
) -> Float[Array, "rows d"]:
    """sum over a row's choices of weight · (gated(x·gate, x·up)·down)_expert, [rows, D] in x's dtype.

    `biases` are added to the three products; `refmodel.gating.gated` says what an `activation` makes of the first two.
    `row_tile` is for `blockwise`; the kernel's tiles are those of `attention.kernels.tiles`.
    """
    operands = x_rd, expert_rk, weight_rk, gate_ledf, up_ledf, down_lefd, layer, biases
    plain = partial(_blockwise, activation=activation, row_tile=row_tile)
    if resolve_impl(impl, *gate_ledf.shape[2:]) == "pallas":
        from refmodel.kernels.grouped_pallas import expert_ffn_pallas  # loads Triton's compiler

        return with_derivative_of(plain, partial(expert_ffn_pallas, activation=activation))(*operands)
    return plain(*operands)


def _blockwise(
    x_rd: jax.Array, expert_rk: jax.Array, weight_rk: jax.Array, gate_ledf: jax.Array, up_ledf: jax.Array,
    down_lefd: jax.Array, layer: jax.Array, biases: tuple[jax.Array, ...], *, activation: Activation,
    row_tile: int | None,
) -> jax.Array:  # fmt: skip
    rows, choices = expert_rk.shape
    n_experts = gate_ledf.shape[1]
    tiles = tile_rows(expert_rk.reshape(-1), n_experts, row_tile or choose_row_tile(rows * choices, n_experts))

    def of_expert(stack: jax.Array, expert: jax.Array) -> jax.Array:
        sizes = stack.shape[2:]
        return lax.dynamic_slice(stack, (layer, expert, *(0 for _ in sizes)), (1, 1, *sizes))[0, 0]

    def run_tile(tile: tuple[jax.Array, jax.Array]) -> jax.Array:
        expert, row_t = tile
        x_td = x_rd.at[jnp.where(row_t < 0, rows, row_t // choices)].get(mode="fill", fill_value=0)
        gate, up, down = (of_expert(stack, expert) for stack in (gate_ledf, up_ledf, down_lefd))
        gate_f, up_f, down_d = (of_expert(stack, expert) for stack in biases) if biases else (0, 0, 0)
        return gated(x_td @ gate + gate_f, x_td @ up + up_f, activation) @ down + down_d

    def skip_tile(tile: tuple[jax.Array, jax.Array]) -> jax.Array:
        return jnp.zeros((tile[1].size, x_rd.shape[1]), x_rd.dtype)

    def one_tile(_: None, operand: tuple[jax.Array, tuple[jax.Array, jax.Array]]) -> tuple[None, jax.Array]:
        number, tile = operand
        return None, lax.cond(number < tiles.n_used, run_tile, skip_tile, tile)

    numbers = jnp.arange(tiles.group_i.size)
    _, y_itd = lax.scan(one_tile, None, (numbers, (tiles.group_i, tiles.row_it)))
    y_rkd = y_itd.reshape(-1, x_rd.shape[1])[tiles.place_r].reshape(rows, choices, -1)
    with jax.named_scope("combine"):
        return jnp.einsum("rk,rkd->rd", weight_rk, y_rkd.astype(jnp.float32)).astype(x_rd.dtype)
