"""One token's key, value and position into their slots of a stack of caches: a Pallas-Triton kernel, in place.

XLA writes them in three updates, and where something has to read the slots before copies the stack, for nothing tells
it that the reading comes first.  The kernel's stacks are its outputs, and `after` is an operand that it does not read.
"""

from __future__ import annotations

from typing import Final

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from attention.kernels.ref import Ref

NAME: Final = "write_token"
"""Of the kernel in compiled programs."""


def write_token(
    stacks: tuple[jax.Array, jax.Array, jax.Array],
    new: tuple[jax.Array, jax.Array, jax.Array],
    layer: jax.Array,
    slot_b: jax.Array,
    after: jax.Array | None = None,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, ...]:
    """The stacks with one token of each row in layer `layer`; nothing else of them is moved.

    Args:
        stacks: keys and values [L, B, S, K, H] and positions [L, B or 1, 1, S].
        new: keys and values [B, 1, K, H] and positions [B or 1, 1, 1] of the token.
        slot_b: int32 [B or 1], where it goes in each row; S or more: nowhere.
        after: what has to be computed before, such as attention that reads the slots as they were.
    """
    keys, _, positions = stacks
    b, slots, n_kv = keys.shape[1:4]
    rows = positions.shape[1], slot_b.size
    moved = 2 * 2 * new[0].size * keys.dtype.itemsize

    def kernel(key_ref: Ref, value_ref: Ref, pos_ref: Ref, layer_ref: Ref, slot_ref: Ref, *refs: Ref) -> None:
        out_keys, out_values, out_pos = refs[-3:]
        row, kv_head = pl.program_id(0), pl.program_id(1)
        slot = slot_ref[jnp.minimum(row, rows[1] - 1)]

        @pl.when(slot < slots)
        def _() -> None:
            for source, target in ((key_ref, out_keys), (value_ref, out_values)):
                target[layer_ref[0], row, slot, kv_head, :] = source[row, 0, kv_head, :].astype(target.dtype)
            # The programs of rows that share positions, and those of all heads, write the same number.
            pos_row = jnp.minimum(row, rows[0] - 1)
            out_pos[layer_ref[0], pos_row, 0, slot] = pos_ref[pos_row, 0, 0]

    integers = jnp.asarray(layer, jnp.int32).reshape(1), slot_b.astype(jnp.int32)
    unread = () if after is None else (after,)
    first = len(new) + len(integers) + len(unread)
    written = pl.pallas_call(
        kernel,
        grid=(b, n_kv),
        out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in stacks],
        input_output_aliases={first + i: i for i in range(len(stacks))},
        compiler_params=plgpu.CompilerParams(num_warps=1, num_stages=1),
        interpret=interpret,
        name=NAME,
        cost_estimate=pl.CostEstimate(flops=0, transcendentals=0, bytes_accessed=moved),
    )(*new[:2], new[2].astype(jnp.int32), *integers, *unread, *stacks)
    return tuple(written)
