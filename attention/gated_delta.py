"""Gated DeltaNet: a state of constant size instead of keys, which forgets and corrects itself (2412.06464)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from attention.attended import Attended
from attention.cost import ONLY_LAYER, Cost, Depth, Growth, Heads
from attention.kernels.choose_delta_rule import executed_flops, run_delta_rule
from attention.mixer import Mixer, MixerInput, StepContext
from attention.outline import Outline, evenly

_EPS = 1e-6  # of the norms of queries and keys


class DeltaState(NamedTuple):
    """Of B rows, each array with layers stacked in front.

    Attributes:
        recurrent: S [B, M, H, Hv], float32.
        tail: the last conv - 1 tokens' channels before the convolution [B, conv - 1, C], float32.
        rows: [B or 1, 0], nothing but its shape: whether rows may be of different lengths.
    """

    recurrent: jax.Array
    tail: jax.Array
    rows: jax.Array


@dataclass(frozen=True)
class GatedDelta(Mixer):
    """`delta(key_heads=16, value_heads=32, key_dim=128, value_dim=128, conv=4)`: Gated DeltaNet, a recurrent state.

    Of q|k|v, each a causal convolution of `conv` tokens and silu, q and k of unit norm (q times H^(-1/2)), and of a|b:

        g_t = -|decay| softplus(a_t + dt_bias)      beta_t = sigmoid(b_t)
        S_t = e^g_t S_{t-1} + k_t (x) beta_t (v_t - e^g_t S_{t-1}ᵀ k_t)      o_t = S_tᵀ q_t

    Every token before reaches a query, through a state that no prompt enlarges.  Its layer has projections of its own
    (`refmodel.delta_net`), so a model has to be trained with it: in the place of attention it computes something else.
    Useful FLOPs are those of the recurrence, 6·H·Hv a value head and token, and of the convolution; executed are the
    products of chunks (`attention.kernels.choose_delta_rule.executed_flops`), and no convolution, which runs as sums.
    """

    name = "delta"
    example = "delta(key_heads=2, value_heads=6, key_dim=6, value_dim=10)"
    component = "linear_attention"

    key_heads: int = 16
    value_heads: int = 32
    key_dim: int = 128
    value_dim: int = 128
    conv: int = 4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"delta: {name} must be at least 1, got {value}")
        if self.value_heads % self.key_heads:
            raise ValueError(f"delta: value_heads {self.value_heads} is not a multiple of key_heads {self.key_heads}")

    @property
    def channels(self) -> int:
        """C: what the convolution runs over, q|k|v."""
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim

    def params(self, heads: Heads) -> Mapping[str, tuple[int, ...]]:
        return {"conv": (self.conv, self.channels), "decay": (self.value_heads,), "dt_bias": (self.value_heads,)}

    def operands(self, heads: Heads) -> tuple[tuple[int, ...], ...]:
        """a|b, and q, k and v before their convolution."""
        keys = self.key_heads, self.key_dim
        return (2 * self.value_heads,), keys, keys, (self.value_heads, self.value_dim)

    # ---------------------------------------------------------------------------------------- its state and its step

    def init_state(
        self, heads: Heads, batch: int, capacity_tokens: int, dtype: jax.typing.DTypeLike, *, ragged: bool = False
    ) -> DeltaState:
        """Of no tokens: zeros, in float32 whatever `dtype` is."""
        return DeltaState(
            jnp.zeros((batch, self.value_heads, self.key_dim, self.value_dim), jnp.float32),
            jnp.zeros((batch, self.conv - 1, self.channels), jnp.float32),
            jnp.zeros((batch if ragged else 1, 0), jnp.float32),
        )

    def state_values(self, heads: Heads) -> int:
        return self.value_heads * self.key_dim * self.value_dim + (self.conv - 1) * self.channels

    def position_rows(self, state: DeltaState) -> int:
        return state.rows.shape[-2]

    def mix(self, inputs: MixerInput, now: StepContext, state: DeltaState) -> tuple[Attended, DeltaState]:
        real_bt = now.q_pos_bt >= 0
        channels_btc = jnp.concatenate(
            [x.reshape(*x.shape[:2], -1) for x in (inputs.q_btnh, inputs.k_btkh, inputs.v_btkh)], axis=-1
        )
        padded = not now.in_order and channels_btc.shape[1] > 1  # a single token has no padding before it
        order_bt = jnp.argsort(~real_bt, axis=1, stable=True) if padded else None
        channels_btc, gates_btm = (_in_order(x, order_bt, real_bt) for x in (channels_btc, inputs.x_btd))
        count_b = jnp.broadcast_to(real_bt.sum(1), len(channels_btc))
        first_bt = jnp.arange(channels_btc.shape[1]) < count_b[:, None]
        mixed_btc, tail = self._convolved(channels_btc, count_b, inputs.params["conv"], state.tail)
        q_btnh, k_btnh, v_btmh = self._heads_of(mixed_btc)
        g_btm, beta_btm = self._gates(gates_btm, first_bt, inputs.params)
        out_btmh, recurrent = run_delta_rule(q_btnh, k_btnh, v_btmh, g_btm, beta_btm, state.recurrent)
        back_bt = None if order_bt is None else jnp.argsort(order_bt, axis=1)
        return Attended(_in_order(out_btmh, back_bt, real_bt)), DeltaState(recurrent, tail, state.rows)

    def _convolved(
        self, x_btc: jax.Array, count_b: jax.Array, weights_wc: jax.Array, tail_bwc: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """silu of each channel's sum over its last tokens, and the tail of the `count` tokens in front."""
        joined = jnp.concatenate([tail_bwc, x_btc.astype(jnp.float32)], axis=1)
        tokens, weights_wc = x_btc.shape[1], weights_wc.astype(jnp.float32)
        summed = sum(joined[:, i : i + tokens] * weights_wc[i] for i in range(self.conv))
        last_bw1 = (count_b[:, None] + jnp.arange(self.conv - 1))[..., None]
        return jax.nn.silu(summed).astype(x_btc.dtype), jnp.take_along_axis(joined, last_bw1, axis=1)

    def _heads_of(self, mixed_btc: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        keys = self.key_heads * self.key_dim
        q, k, v = jnp.split(mixed_btc, (keys, 2 * keys), axis=-1)
        q, k = (_unit(x.reshape(*x.shape[:2], self.key_heads, self.key_dim)) for x in (q, k))
        v_btmh = v.reshape(*v.shape[:2], self.value_heads, self.value_dim)
        return (q * self.key_dim**-0.5).astype(v.dtype), k.astype(v.dtype), v_btmh

    def _gates(
        self, gates_btm: jax.Array, real_bt: jax.Array, params: Mapping[str, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        """Logarithms of decays, and rates; 0 of padding."""
        decay_m, bias_m = (params[name].astype(jnp.float32) for name in ("decay", "dt_bias"))
        a_btm, b_btm = jnp.split(gates_btm.astype(jnp.float32), 2, axis=-1)
        g_btm, beta_btm = -jnp.abs(decay_m) * jax.nn.softplus(a_btm + bias_m), jax.nn.sigmoid(b_btm)
        return jnp.where(real_bt[..., None], g_btm, 0), jnp.where(real_bt[..., None], beta_btm, 0)

    # ------------------------------------------------------------------------------------------------------ its cost

    @property
    def token_macs(self) -> int:
        """Useful multiply-accumulates of a token: the state read twice and written, and the convolution."""
        return 3 * self.value_heads * self.key_dim * self.value_dim + self.conv * self.channels

    def useful(self, heads: Heads, tokens: int, start: int = 0, depth: Depth = ONLY_LAYER) -> Cost:
        return Cost(0, state_flops=2 * self.token_macs * tokens)

    def executed(
        self, heads: Heads, tokens: int, start: int = 0, capacity: int = 0, impl: str = "auto",
        depth: Depth = ONLY_LAYER,
    ) -> Cost:  # fmt: skip
        sizes = self.key_heads, self.value_heads, self.key_dim, self.value_dim
        return Cost(0, state_flops=executed_flops(tokens, *sizes))

    def limiting_flops(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Fraction:
        return Fraction(2 * self.token_macs)

    def growth(self, heads: Heads, depth: Depth = ONLY_LAYER) -> Growth:
        return Growth(1)

    def outline(self, heads: Heads, tokens: int) -> Outline:
        """Every earlier token, through the state."""
        return Outline((evenly(tokens, 1.0),), exact=True)


def _unit(x: jax.Array) -> jax.Array:
    x = x.astype(jnp.float32)
    return x * lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + _EPS)


def _in_order(x_bt: jax.Array, order_bt: jax.Array | None, real_bt: jax.Array) -> jax.Array:
    """The tokens in that order; as they are where the step has no padding, or no order is needed."""
    if order_bt is None:
        return x_bt
    index = order_bt.reshape(*order_bt.shape, *[1] * (x_bt.ndim - 2))
    return lax.cond(real_bt.all(), lambda: x_bt, lambda: jnp.take_along_axis(x_bt, index, axis=1))
