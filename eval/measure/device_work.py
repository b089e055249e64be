"""What ran for a layer's attention: which implementation, and the pairs of the tiles that it visited."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from attention.attend import Pattern, attend, choose_impl, reporting_kernel
from attention.kernels.block_routed import MOST_ROWS, BlockChoice, attend_chosen
from attention.kernels.blockwise import attend_blockwise, walks_over_heads
from attention.kernels.cover import GRANULE, choose_blocks
from attention.kernels.row_tiles import choose_row_tile
from attention.variant import Variant
from eval.cost.flops.model_program import component_of
from eval.cost.flops.traced import count_flops
from eval.measure.layer_program import layer_kernel
from eval.measure.timing import compile_program
from refmodel.config import ModelConfig


@dataclass(frozen=True)
class Work:
    """Of one layer of one prompt.

    Attributes:
        impls: the implementations that ran, in the order of their first call.
        visited_pairs: (query, key) pairs of the tiles that ran, all query heads; None where one of them does not tell,
            as cuDNN, tokamax and the dense path do not.
    """

    impls: tuple[str, ...]
    visited_pairs: int | None


@functools.cache
def layer_work(config: ModelConfig, variant: Variant, tokens: int, dtype: Any, impl: str = "auto") -> Work:
    """Runs the layer once, apart from any timing, with kernels that report to the host.  Remembers what it found."""
    impls: dict[str, bool] = {}  # and whether it tells what it visited
    visited: list[float] = []

    def reporting(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern, *, return_lse=False, order="any"):
        chosen = choose_impl(q_btnh, k_bskh, pattern, impl=impl, order=order, return_lse=return_lse)
        kernel = reporting_kernel(chosen, pattern)
        impls[chosen] = kernel is not None or chosen == "blockwise"
        operands = q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern
        if kernel:
            found = kernel(*operands, return_lse=return_lse)
            out_btnh, lse_bnt, tiles, pairs_of_a_tile = found.out_btnh, found.lse_bnt, found.visited_pairs, 1
        elif chosen == "blockwise":
            run = attend_chosen if isinstance(pattern, BlockChoice) else attend_blockwise
            out_btnh, lse_bnt, tiles = run(*operands)
            pairs_of_a_tile = _tile_pairs(q_btnh, k_bskh, kv_pos_bks, pattern)
        else:
            return attend(*operands, impl=chosen, return_lse=return_lse, order=order)
        jax.debug.callback(lambda tiles: visited.append(pairs_of_a_tile * float(tiles)), tiles)
        return (out_btnh, lse_bnt) if return_lse else out_btnh

    layer, arguments = layer_kernel(config, variant, tokens, dtype, attend=reporting)
    compile_program(layer, *arguments).run_ms()
    jax.effects_barrier()
    return Work(tuple(impls), round(sum(visited)) if impls and all(impls.values()) else None)


@functools.cache
def selection_flops(config: ModelConfig, variant: Variant, tokens: int, dtype: Any, impl: str = "auto") -> int:
    """What choosing who is seen costs in a layer as it runs here, whose kernels pad: from a trace, nothing runs."""
    if not variant.at_length(tokens).useful(config.heads, tokens).selection_flops:
        return 0

    def choosing(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern, *, return_lse=False, order="any"):
        if isinstance(pattern, BlockChoice):  # chosen inside
            return attend(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern, impl=impl, return_lse=return_lse)
        b, t, n, _ = q_btnh.shape
        out_btnh, lse_bnt = jnp.zeros_like(q_btnh), jnp.zeros((b, n, t), jnp.float32)
        return (out_btnh, lse_bnt) if return_lse else out_btnh

    layer, arguments = layer_kernel(config, variant, tokens, dtype, attend=choosing)
    return count_flops(layer, *arguments).grouped(component_of).get("selection", 0)


def _tile_pairs(q_btnh: jax.Array, k_bskh: jax.Array, kv_pos_bks: jax.Array, pattern: Pattern) -> int:
    """Pairs of what the blockwise path counts as one visit, in all the heads that it serves; one row of the batch."""
    (_, t, n, _), (s, k) = q_btnh.shape, k_bskh.shape[1:3]
    if isinstance(pattern, BlockChoice):
        return choose_row_tile(t * n, k * pattern.n_blocks(s), MOST_ROWS) * pattern.block
    walks = walks_over_heads(pattern, n, k, kv_pos_bks.shape[1] > 1)
    return choose_blocks(pattern, t, s, n // k).q_tile * GRANULE * n // walks
