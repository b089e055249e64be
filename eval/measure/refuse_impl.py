"""Whether attention can be timed: by a named implementation on this machine, and of a model one layer for all."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from attention.backends.base import Request
from attention.backends.registry import BACKENDS, choose
from attention.full import Full
from attention.kernels.target import current_target
from refmodel.specification import ModelConfig


def refuse_impl(impl: str, dtype: Any, head_dim: int = 64) -> None:
    """Raises `ValueError` if `impl` is unknown, or cannot run full attention here: no cell would have a figure.

    Heads of 64 are what every implementation takes: with them it is the device and the dtype that are asked about.
    """
    operand = jax.ShapeDtypeStruct((1, 1024, 1, head_dim), jnp.dtype(dtype))
    request = Request(operand, operand, Full().pattern(), "prompt", need_lse=False, target=current_target())
    try:
        choose(request, impl)
    except ValueError as error:
        if impl not in BACKENDS:
            raise
        able = [name for name, backend in BACKENDS.items() if not backend.cannot(request)]
        raise ValueError(f"{error}; accepted here: {', '.join(['auto', *able])}") from None


TIMES_ONE_LAYER = (
    "no one layer's attention can be timed for all; flops, crossover, variants, generate and quality take it"
)


def refuse_several_heads(config: ModelConfig, so: str = TIMES_ONE_LAYER) -> None:
    """Raises `ValueError` for a model whose layers' heads differ, and says what follows from it: `so`.

    A cell of `compare` times the attention of one layer for all that have its variant.
    """
    sizes = {(one.heads.n_heads, one.heads.n_kv_heads, one.heads.head_dim) for one in config.layers if one.mixer}
    if len(sizes) > 1:
        told = ", ".join(f"{n}/{k} of {h}" for n, k, h in sorted(sizes))
        raise ValueError(f"{config.name} has heads of {len(sizes)} sizes ({told}): {so}")
