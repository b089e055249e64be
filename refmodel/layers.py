"""The parts of a block, as Flax Linen modules over stacked parameters.

Every parameter carries the layers of its kind on a leading axis and a module is called with the index of its layer:
the layer loop closes over the whole stack and copies no slice of it between iterations.

Axes: B batch, T tokens, D model width, N query heads, K key-value heads, H head size, F feed-forward width, L layers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from attention.eviction.kept import Kept
from attention.variant import Variant
from refmodel.attend_layer import LayerIndex, Projected, StepInput, attend_layer
from refmodel.cache import LayerCache
from refmodel.config import BlockKind, ModelConfig
from refmodel.kernels.choose_experts import choose_experts
from refmodel.kernels.grouped import expert_ffn
from refmodel.kernels.norm_rope import norm_and_rope
from refmodel.norm import rms_norm
from refmodel.rope import apply_rope


class Stacked(nn.Module):
    """Base: declares parameters [L, ...] and reads one layer's slice of them.

    What is declared here are shapes.  Values come from a checkpoint or from `refmodel.weights.random`: a Linen
    initialiser would count the stack into the fan-in.
    """

    config: ModelConfig
    n_stack: int
    dtype: jax.typing.DTypeLike

    def stack(self, name: str, *shape: int) -> jax.Array:
        return self.param(name, nn.initializers.zeros, (self.n_stack, *shape), self.dtype)

    def at(self, layer: jax.Array, name: str, *shape: int) -> jax.Array:
        return lax.dynamic_index_in_dim(self.stack(name, *shape), layer, keepdims=False)


class RMSNorm(Stacked):
    """`refmodel.norm.rms_norm` with a layer's scale."""

    @nn.compact
    def __call__(self, x: jax.Array, layer: jax.Array) -> jax.Array:
        return rms_norm(x, self.at(layer, "scale", x.shape[-1]), self.config.norm_eps)


class NormAndRope(Stacked):
    """The norm of each head and its rotation (Qwen3's qk-norm)."""

    @nn.compact
    def __call__(self, x_btnh: jax.Array, layer: jax.Array, angles: tuple[jax.Array, jax.Array]) -> jax.Array:
        return norm_and_rope(x_btnh, self.at(layer, "scale", x_btnh.shape[-1]), angles, self.config.norm_eps)


class Attention(Stacked):
    """Grouped-query attention with optional qk-norm and rotary positions; the cache comes in and goes out."""

    @nn.compact
    def __call__(self, x_btd, index: LayerIndex, step: StepInput, variant: Variant, stack: LayerCache | Kept):
        c, layer = self.config, index.of_kind
        d, n, k, h = c.d_model, c.n_heads, c.n_kv_heads, c.head_dim
        # Without the barrier XLA (of jax 0.11) multiplies by all three at once on a GPU, then copies each result out.
        for_q, for_k, for_v = lax.optimization_barrier((x_btd,) * 3)
        q_btnh = jnp.einsum("btd,dnh->btnh", for_q, self.at(layer, "q", d, n, h))
        k_btkh = jnp.einsum("btd,dkh->btkh", for_k, self.at(layer, "k", d, k, h))
        v_btkh = jnp.einsum("btd,dkh->btkh", for_v, self.at(layer, "v", d, k, h))
        if c.qk_norm:
            q_btnh = NormAndRope(c, self.n_stack, self.dtype, name="q_norm")(q_btnh, layer, step.angles)
            k_btkh = NormAndRope(c, self.n_stack, self.dtype, name="k_norm")(k_btkh, layer, step.angles)
        else:
            q_btnh, k_btkh = (apply_rope(x, step.angles) for x in (q_btnh, k_btkh))
        params = {name: self.at(layer, name, *shape) for name, shape in variant.params(c.heads).items()}
        with jax.named_scope("attention"):
            inputs = Projected(x_btd, q_btnh, k_btkh, v_btkh)
            attended, stack = attend_layer(c, variant, inputs, params, step, stack, index)
        return jnp.einsum("btnh,nhd->btd", attended.out_btnh, self.at(layer, "o", n, h, d)), stack


class FeedForward(Stacked):
    """SwiGLU: (silu(x·gate) * x·up)·down (Shazeer, 2002.05202)."""

    @nn.compact
    def __call__(self, x_btd: jax.Array, layer: jax.Array) -> jax.Array:
        d, f = self.config.d_model, self.config.d_ff
        gated = nn.silu(x_btd @ self.at(layer, "gate", d, f)) * (x_btd @ self.at(layer, "up", d, f))
        return gated @ self.at(layer, "down", f, d)


class MixtureOfExperts(Stacked):
    """Top-k of E SwiGLU experts per token, none dropped (Qwen3-MoE, 2505.09388)."""

    @nn.compact
    def __call__(self, x_btd: jax.Array, layer: jax.Array) -> jax.Array:
        c = self.config
        b, t, d = x_btd.shape
        x_rd = x_btd.reshape(b * t, d)
        expert_rk, weight_rk = route(x_rd, self.at(layer, "router", d, c.n_experts), c)
        experts = (
            self.stack("gate", c.n_experts, d, c.d_expert),
            self.stack("up", c.n_experts, d, c.d_expert),
            self.stack("down", c.n_experts, c.d_expert, d),
        )
        return expert_ffn(x_rd, expert_rk, weight_rk, *experts, layer).reshape(b, t, d)


@jax.named_scope("router")
def route(x_rd: jax.Array, router_de: jax.Array, config: ModelConfig) -> tuple[jax.Array, jax.Array]:
    """Chosen experts and their float32 weights, each [rows, experts per token].

    Sums in float32 at full precision: in tf32 or bfloat16 the eighth and ninth expert change places between platforms.
    Products of bfloat16 operands are exact in float32, so those stay what they are: matrix units take them.
    """
    logits_re = jnp.dot(x_rd, router_de, precision="highest", preferred_element_type=jnp.float32)
    weight_rk, expert_rk = choose_experts(logits_re, config.experts_per_token, config.norm_topk_prob)
    return expert_rk, weight_rk


class Block(Stacked):
    """One layer: x + attention(norm(x)), then x + feed-forward(norm(x))."""

    kind: BlockKind = "dense"

    @nn.compact
    def __call__(self, x_btd, index: LayerIndex, step: StepInput, variant: Variant, stack: LayerCache | Kept):
        shared, layer = (self.config, self.n_stack, self.dtype), index.of_kind
        attended, stack = Attention(*shared, name="attn")(
            RMSNorm(*shared, name="attn_norm")(x_btd, layer), index, step, variant, stack
        )
        x_btd += attended
        ffn = (MixtureOfExperts if self.kind == "moe" else FeedForward)(*shared, name="ffn")
        return x_btd + ffn(RMSNorm(*shared, name="ffn_norm")(x_btd, layer), layer), stack
