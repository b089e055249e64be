"""What a GPU ran for a layer's attention: which implementation, and the pairs of the tiles that it visited."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax

from attention.attend import attend, choose_impl
from attention.kernels.pallas_spans import attend_pallas_spans
from attention.variant import Variant
from eval.layer_kernel import layer_kernel
from refmodel.config import ModelConfig


@dataclass(frozen=True)
class Work:
    """Of one layer of one prompt.

    Attributes:
        impls: the implementations that ran, in the order of their first call.
        visited_pairs: (query, key) pairs of the tiles that ran, all query heads; None where one of them does not tell,
            as cuDNN and tokamax do not.
    """

    impls: tuple[str, ...]
    visited_pairs: int | None


@functools.cache
def layer_work(config: ModelConfig, variant: Variant, tokens: int, dtype: Any, impl: str = "auto") -> Work:
    """Runs the layer once, apart from any timing, with kernels that report to the host.  Remembers what it found."""
    impls: dict[str, None] = {}
    visited: list[float] = []

    def reporting(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern, *, return_lse=False, in_order=False):
        chosen = choose_impl(q_btnh, k_bskh, pattern, impl=impl, in_order=in_order, return_lse=return_lse)
        impls[chosen] = None
        operands = q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern
        if chosen != "pallas":
            return attend(*operands, impl=chosen, return_lse=return_lse, in_order=in_order)
        found = attend_pallas_spans(*operands, return_lse=return_lse)
        jax.debug.callback(lambda pairs: visited.append(float(pairs)), found.visited_pairs)
        return (found.out_btnh, found.lse_bnt) if return_lse else found.out_btnh

    kernel, arguments = layer_kernel(config, variant, tokens, dtype, attend=reporting)
    jax.block_until_ready(jax.jit(kernel)(*arguments))
    jax.effects_barrier()
    return Work(tuple(impls), round(sum(visited)) if set(impls) == {"pallas"} else None)
