"""The router's choice of experts: by a kernel on a GPU, in plain XLA elsewhere."""

from __future__ import annotations

from functools import partial

import jax
from jaxtyping import Array, Float, Int

from attention.kernels.derivative import with_derivative_of
from attention.kernels.target import current_target, is_gpu


def choose_experts(
    logits_re: Float[Array, "rows e"], k: int, renormalise: bool
) -> tuple[Float[Array, "rows {k}"], Int[Array, "rows {k}"]]:
    """The k largest of softmax(logits), and whose they are: float32 and int32 [rows, k], largest first.

    Of equals the expert of the lower index comes first.  `renormalise` makes the k sum to one.  The kernel on a GPU,
    plain XLA elsewhere.
    """
    plain = partial(_plain, k=k, renormalise=renormalise)
    if is_gpu(current_target()):
        from refmodel.kernels.choose_experts_pallas import choose_experts_pallas  # loads Triton's compiler

        return with_derivative_of(plain, partial(choose_experts_pallas, k=k, renormalise=renormalise))(logits_re)
    return plain(logits_re)


def _plain(logits_re: jax.Array, *, k: int, renormalise: bool) -> tuple[jax.Array, jax.Array]:
    weight_rk, expert_rk = jax.lax.top_k(jax.nn.softmax(logits_re, axis=-1), k)
    return weight_rk / weight_rk.sum(-1, keepdims=True) if renormalise else weight_rk, expert_rk
