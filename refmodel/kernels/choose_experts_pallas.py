"""The router's choice as one Pallas-Triton kernel, for CUDA and ROCm.

A softmax over the experts and the largest k of it, found one after the other in registers; XLA's `top_k` sorts all of
them, and costs more than reading the router's weights and multiplying by them.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.kernels.ref import Ref

NAME: Final = "choose_experts"
"""Of the kernel in compiled programs."""
ROWS, WARPS = 16, 4
"""Of one program; a row is a token."""


def choose_experts_pallas(
    logits_re: jax.Array, *, k: int, renormalise: bool, interpret: bool = False
) -> tuple[jax.Array, jax.Array]:
    """The kernel, for float32 logits [rows, E].  No derivative.  Raises `ValueError` for others, and for k > E."""
    rows, experts = logits_re.shape
    if k > experts or logits_re.dtype != jnp.float32:
        raise ValueError(
            f"the kernel chooses at most all experts by float32 logits, got {k} of {experts} by {logits_re.dtype}"
        )
    shape = rows, k
    return pl.pallas_call(
        partial(_kernel, renormalise=renormalise),
        grid=(pl.cdiv(rows, ROWS),),
        out_shape=(jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct(shape, jnp.int32)),
        compiler_params=plgpu.CompilerParams(num_warps=WARPS, num_stages=1),
        interpret=interpret,
        name=NAME,
        cost_estimate=pl.CostEstimate(  # no matrix product
            flops=0, transcendentals=rows * experts, bytes_accessed=4 * rows * (experts + 2 * k)
        ),
    )(logits_re)


def _kernel(logits_ref: Ref, weight_ref: Ref, expert_ref: Ref, *, renormalise: bool) -> None:
    (rows, experts), k = logits_ref.shape, weight_ref.shape[1]
    row = pl.program_id(0) * ROWS + jnp.arange(ROWS)

    def block(width: int) -> tuple[tuple[jax.Array, jax.Array], jax.Array, jax.Array]:
        """Indices of rows and columns of one block, of a power of two columns, and which of them there are."""
        shape = ROWS, pl.next_power_of_2(width)
        rows_2d, columns = jnp.broadcast_to(row[:, None], shape), jnp.broadcast_to(jnp.arange(shape[1])[None], shape)
        return (rows_2d, columns), columns, (rows_2d < rows) & (columns < width)

    place, expert_re, exists = block(experts)
    logits_re = plgpu.load(logits_ref.at[place], mask=exists, other=-jnp.inf)
    weight_re = jnp.exp(logits_re - logits_re.max(1, keepdims=True))
    weight_re /= weight_re.sum(1, keepdims=True)

    place, choice_rk, exists = block(k)
    weight_rk, expert_rk = jnp.zeros(choice_rk.shape, jnp.float32), jnp.zeros(choice_rk.shape, jnp.int32)
    for choice in range(k):
        best_r = jnp.argmax(weight_re, axis=1).astype(jnp.int32)[:, None]
        weight_rk = jnp.where(choice_rk == choice, weight_re.max(1, keepdims=True), weight_rk)
        expert_rk = jnp.where(choice_rk == choice, jnp.minimum(best_r, experts - 1), expert_rk)  # even of NaN
        weight_re = jnp.where(expert_re == best_r, -1.0, weight_re)
    if renormalise:
        weight_rk /= weight_rk.sum(1, keepdims=True)
    plgpu.store(weight_ref.at[place], weight_rk, mask=exists)
    plgpu.store(expert_ref.at[place], expert_rk, mask=exists)
