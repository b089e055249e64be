"""Whether a named implementation of attention can run on this machine, asked before anything is loaded or timed."""

from __future__ import annotations

from typing import Any, get_args

import jax
import jax.numpy as jnp

from attention.attend import Impl, choose_impl, resolve_impl
from attention.full import Full


def refuse_impl(impl: str, dtype: Any, head_dim: int = 64) -> None:
    """Raises `ValueError` if `impl` is unknown, or cannot run full attention here: no cell would have a figure.

    Heads of 64 are what every implementation takes: with them it is the device and the dtype that are asked about.
    """
    resolve_impl(impl, 1, 1)  # an unknown name has its own list of what is accepted
    reason = _why_not(impl, dtype, head_dim)
    if reason:
        able = [name for name in get_args(Impl) if not _why_not(name, dtype, head_dim)]
        raise ValueError(f"{reason}; accepted here: {', '.join(able)}")


def _why_not(impl: str, dtype: Any, head_dim: int) -> str | None:
    operand = jax.ShapeDtypeStruct((1, 1024, 1, head_dim), jnp.dtype(dtype))
    try:
        choose_impl(operand, operand, Full().pattern(), impl=impl, order="prompt")
    except ValueError as error:
        return str(error)
    return None
