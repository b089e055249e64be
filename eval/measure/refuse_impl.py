"""Whether a named implementation of attention can run on this machine, asked before anything is loaded or timed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from attention.backends.base import Request
from attention.backends.registry import BACKENDS, choose
from attention.full import Full
from attention.kernels.target import current_target


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
