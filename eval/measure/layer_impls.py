"""Which implementations a layer's attention takes, found by tracing it: nothing is compiled and nothing runs."""

from __future__ import annotations

import functools
from typing import Any

import jax

from attention.attend import attend, choose_impl
from attention.kernels.target import current_target
from attention.variant import Variant
from eval.measure.layer_program import layer_kernel
from refmodel.config import ModelConfig


def layer_impls(config: ModelConfig, variant: Variant, tokens: int, dtype: Any, impl: str = "auto") -> tuple[str, ...]:
    """In the order of their first call; of one layer with `variant`, a prompt of `tokens` in one step.

    Raises `ValueError` where `impl` names one that cannot run it.
    """
    return _on_target(current_target(), config, variant, tokens, dtype, impl)


@functools.cache
def _on_target(
    target: str, config: ModelConfig, variant: Variant, tokens: int, dtype: Any, impl: str
) -> tuple[str, ...]:
    """The same for the current target, which is what `auto` asks for."""
    del target
    found: dict[str, None] = {}

    def noting(q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern, *, return_lse=False, order="any"):
        chosen = choose_impl(q_btnh, k_bskh, pattern, impl=impl, order=order, return_lse=return_lse)
        found[chosen] = None
        operands = q_btnh, k_bskh, v_bskh, q_pos_bt, kv_pos_bks, pattern
        return attend(*operands, impl=chosen, return_lse=return_lse, order=order)

    def layer() -> jax.Array:
        kernel, arguments = layer_kernel(config, variant, tokens, dtype, attend=noting)
        return kernel(*arguments)

    jax.eval_shape(layer)
    return tuple(found)
