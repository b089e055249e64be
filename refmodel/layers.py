"""The parts of a block, as Flax Linen modules over stacked parameters.

Every parameter carries the layers of its stack on a leading axis and a module is called with the index of its layer:
the layer loop closes over the whole stack and copies no slice of it between iterations.

Axes: B batch, T tokens, D model width, N query heads, K key-value heads, H head size, F feed-forward width, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Float32, Int

from attention.mixer import Mixer
from refmodel.attend_layer import LayerIndex, Projected, StepInput, attend_layer
from refmodel.kernels.choose_experts import choose_experts
from refmodel.kernels.grouped import expert_ffn
from refmodel.kernels.norm_rope import norm_and_rope
from refmodel.layer_spec import LayerSpec
from refmodel.norm import rms_norm
from refmodel.parts import Dense, Experts
from refmodel.rope import apply_rope

_ACTIVATIONS: Final[Mapping[str, Callable[[jax.Array], jax.Array]]] = MappingProxyType(
    {"silu": nn.silu, "gelu_tanh": partial(nn.gelu, approximate=True)}
)


class Stacked(nn.Module):
    """Base: declares parameters [L, ...] and reads one layer's slice of them.

    What is declared here are the rows of the layer's table, by the path `prefix` and their name.  Values come from a
    checkpoint or from `refmodel.weights.random`: a Linen initialiser would count the stack into the fan-in.
    """

    spec: LayerSpec
    n_stack: int
    dtype: jax.typing.DTypeLike
    prefix: str = ""

    def stack(self, name: str) -> jax.Array:
        shape = self.spec.parameter(f"{self.prefix}.{name}").shape
        return self.param(name, nn.initializers.zeros, (self.n_stack, *shape), self.dtype)

    def at(self, layer: jax.Array, name: str) -> jax.Array:
        return lax.dynamic_index_in_dim(self.stack(name), layer, keepdims=False)


class RMSNorm(Stacked):
    """`refmodel.norm.rms_norm` with a layer's scale."""

    @nn.compact
    def __call__(self, x: jax.Array, layer: jax.Array) -> jax.Array:
        return rms_norm(x, self.at(layer, "scale"), self.spec.norm)


class NormAndRope(Stacked):
    """The norm of each head and its rotation (Qwen3's qk-norm)."""

    @nn.compact
    def __call__(self, x_btnh: jax.Array, layer: jax.Array, angles: tuple[jax.Array, jax.Array]) -> jax.Array:
        return norm_and_rope(x_btnh, self.at(layer, "scale"), angles, self.spec.norm)


class Attention(Stacked):
    """Grouped-query attention with optional qk-norm and rotary positions; the cache comes in and goes out."""

    @nn.compact
    def __call__(
        self, x_btd: jax.Array, index: LayerIndex, step: StepInput, mixer: Mixer, stack: Any
    ) -> tuple[jax.Array, Any]:
        spec, layer = self.spec, index.of_kind
        # Without the barrier XLA (of jax 0.11) multiplies by all three at once on a GPU, then copies each result out.
        for_q, for_k, for_v = lax.optimization_barrier((x_btd,) * 3)
        q_btnh = self.biased(layer, "q", jnp.einsum("btd,dnh->btnh", for_q, self.at(layer, "q")))
        k_btkh = self.biased(layer, "k", jnp.einsum("btd,dkh->btkh", for_k, self.at(layer, "k")))
        v_btkh = self.biased(layer, "v", jnp.einsum("btd,dkh->btkh", for_v, self.at(layer, "v")))
        angles, q_angles = step.angles, step.angles
        if spec.query_factor != 1:  # in float32, and rounded no more often than without
            cos, sin = angles
            q_angles = spec.query_factor * cos, spec.query_factor * sin
        if spec.qk_norm:
            shared = (spec, self.n_stack, self.dtype)
            q_btnh = NormAndRope(*shared, "attn.q_norm", name="q_norm")(q_btnh, layer, q_angles)
            k_btkh = NormAndRope(*shared, "attn.k_norm", name="k_norm")(k_btkh, layer, angles)
        else:
            q_btnh, k_btkh = apply_rope(q_btnh, q_angles), apply_rope(k_btkh, angles)
        params = {name: self.at(layer, name) for name in mixer.params(spec.heads)}
        with jax.named_scope("attention"):
            inputs = Projected(x_btd, q_btnh, k_btkh, v_btkh)
            attended, stack = attend_layer(spec, mixer, inputs, params, step, stack, index)
        out_btd = jnp.einsum("btnh,nhd->btd", attended.out_btnh, self.at(layer, "o"))
        return self.biased(layer, "o", out_btd), stack

    def biased(self, layer: jax.Array, name: str, projected: jax.Array) -> jax.Array:
        """With the bias of the projection `name`, where it has one."""
        return projected + self.at(layer, f"{name}_bias") if name in self.spec.attention_bias else projected


class FeedForward(Stacked):
    """(activation(x·gate) * x·up)·down; SwiGLU where that is silu (Shazeer, 2002.05202)."""

    @nn.compact
    def __call__(self, x_btd: jax.Array, layer: jax.Array) -> jax.Array:
        assert isinstance(self.spec.feed_forward, Dense)
        dense, activation = self.spec.feed_forward, _ACTIVATIONS[self.spec.feed_forward.activation]

        def product(x: jax.Array, name: str) -> jax.Array:
            out = x @ self.at(layer, name)
            return out + self.at(layer, f"{name}_bias") if dense.bias else out

        return product(activation(product(x_btd, "gate")) * product(x_btd, "up"), "down")


class MixtureOfExperts(Stacked):
    """Top-k of E SwiGLU experts per token, none dropped (Qwen3-MoE, 2505.09388)."""

    @nn.compact
    def __call__(self, x_btd: jax.Array, layer: jax.Array) -> jax.Array:
        assert isinstance(self.spec.feed_forward, Experts)
        b, t, d = x_btd.shape
        x_rd = x_btd.reshape(b * t, d)
        expert_rk, weight_rk = route(x_rd, self.at(layer, "router"), self.spec.feed_forward)
        experts = (self.stack("gate"), self.stack("up"), self.stack("down"))
        return expert_ffn(x_rd, expert_rk, weight_rk, *experts, layer).reshape(b, t, d)


@jax.named_scope("router")
def route(
    x_rd: Float[Array, "rows d"], router_de: Float[Array, "d e"], experts: Experts
) -> tuple[Int[Array, "rows k"], Float32[Array, "rows k"]]:
    """Chosen experts and their float32 weights, each [rows, experts per token].

    Sums in float32 at full precision: in tf32 or bfloat16 the eighth and ninth expert change places between platforms.
    Products of bfloat16 operands are exact in float32, so those stay what they are: matrix units take them.
    """
    logits_re = jnp.dot(x_rd, router_de, precision="highest", preferred_element_type=jnp.float32)
    weight_rk, expert_rk = choose_experts(logits_re, experts.experts_per_token, experts.norm_topk_prob)
    return expert_rk, weight_rk


class Block(Stacked):
    """One layer: x + attention(norm(x)), then x + feed-forward(norm(x)); Gemma norms what is added, too."""

    @nn.compact
    def __call__(
        self, x_btd: jax.Array, index: LayerIndex, step: StepInput, mixer: Mixer, stack: Any
    ) -> tuple[jax.Array, Any]:
        shared, layer = (self.spec, self.n_stack, self.dtype), index.of_kind

        def norm(name: str, x_btd: jax.Array) -> jax.Array:
            return RMSNorm(*shared, name, name=name)(x_btd, layer)

        attention = Attention(*shared, "attn", name="attn")
        added_btd, stack = attention(norm("attn_norm", x_btd), index, step, mixer, stack)
        x_btd += norm("attn_post_norm", added_btd) if self.spec.norm.after else added_btd
        ffn = (MixtureOfExperts if isinstance(self.spec.feed_forward, Experts) else FeedForward)(
            *shared, "ffn", name="ffn"
        )
        added_btd = ffn(norm("ffn_norm", x_btd), layer)
        return x_btd + (norm("ffn_post_norm", added_btd) if self.spec.norm.after else added_btd), stack
