"""The gated delta rule on this device: a prompt by the kernels on a GPU, else in plain XLA."""

from __future__ import annotations

from jaxtyping import Array, Float, Float32

from attention.kernels import delta_rule
from attention.kernels.delta_rule import MOST_RECURRENT, gated_delta_rule
from attention.kernels.derivative import with_derivative_of
from attention.kernels.target import current_target, is_gpu


def run_delta_rule(
    q_btnh: Float[Array, "b t n h"],
    k_btnh: Float[Array, "b t n h"],
    v_btmh: Float[Array, "b t m v"],
    g_btm: Float32[Array, "b t m"],
    beta_btm: Float32[Array, "b t m"],
    state_bmhh: Float32[Array, "b m h v"],
) -> tuple[Float[Array, "b t m v"], Float32[Array, "b m h v"]]:
    """`attention.kernels.delta_rule.gated_delta_rule`, differentiated as it is whoever computes it."""
    operands = q_btnh, k_btnh, v_btmh, g_btm, beta_btm, state_bmhh
    same = q_btnh.dtype == k_btnh.dtype == v_btmh.dtype
    if not same or not _by_kernel(k_btnh.shape[1], k_btnh.shape[-1], v_btmh.shape[-1]):
        return gated_delta_rule(*operands)
    from attention.kernels.pallas_delta_rule import gated_delta_rule_pallas  # loads Triton's compiler

    return with_derivative_of(gated_delta_rule, gated_delta_rule_pallas)(*operands)


def executed_flops(tokens: int, key_heads: int, value_heads: int, key_dim: int, value_dim: int) -> int:
    """FLOPs of the products that `run_delta_rule` runs for one row of T tokens; on a GPU, of 16 bits."""
    sizes = tokens, key_heads, value_heads, key_dim, value_dim
    if not _by_kernel(tokens, key_dim, value_dim):
        return delta_rule.executed_flops(*sizes)
    from attention.kernels.pallas_delta_rule import kernel_flops

    return sum(kernel_flops(*sizes).values())


def _by_kernel(tokens: int, key_dim: int, value_dim: int) -> bool:
    """Whether the kernels are there, pay and take heads of these sizes."""
    takes = all(size >= 16 and size & (size - 1) == 0 for size in (key_dim, value_dim))
    return tokens > MOST_RECURRENT and takes and is_gpu(current_target())
