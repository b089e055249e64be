"""The derivative of a kernel that has none of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def with_derivative_of(plain: Callable[..., Any], kernel: Callable[..., Any]) -> Callable[..., Any]:
    """`kernel`, differentiated as `plain`, which computes the same function of the same operands in plain XLA.

    `plain` is computed again on the way back, so that nothing but the operands is kept; integers get no derivative,
    and there is no forward mode.  Made at each call, so that callers belong under `jit`.
    """
    call = jax.custom_vjp(kernel)

    def forward(*operands: Any) -> tuple[Any, tuple[Any, ...]]:
        return kernel(*operands), operands

    def backward(operands: tuple[Any, ...], d_out: Any) -> tuple[Any, ...]:
        return jax.vjp(plain, *operands)[1](d_out)

    call.defvjp(forward, backward)
    return call
