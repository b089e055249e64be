"""Feed-forwards as Flax Linen modules over stacked parameters: dense, a mixture of experts, one beside the other.

Axes: B batch, T tokens, D model width, F feed-forward width, E experts, L layers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Float32, Int

from refmodel.gating import gated
from refmodel.kernels.choose_experts import choose_experts
from refmodel.kernels.grouped import Biases, expert_ffn
from refmodel.kernels.projection import project
from refmodel.norm import rms_norm
from refmodel.parts import Dense, Experts, Norm
from refmodel.stacked_module import RMSNorm, Stacked


class FeedForward(Stacked):
    """gated(x·gate, x·up)·down (`refmodel.gating`); SwiGLU where the activation is silu (Shazeer, 2002.05202)."""

    @nn.compact
    def __call__(self, x_btd: jax.Array, layer: jax.Array) -> jax.Array:
        dense = self.spec.feed_forward if isinstance(self.spec.feed_forward, Dense) else self.spec.feed_forward.beside
        assert dense

        def products(x: jax.Array, *names: str) -> list[jax.Array]:
            out = project(x, tuple(map(self.stack, names)), layer)
            return [y + self.at(layer, f"{name}_bias") if dense.bias else y for name, y in zip(names, out, strict=True)]

        gate, up = products(x_btd, "gate", "up")
        (down,) = products(gated(gate, up, dense.activation), "down")
        return down


class OfExperts(Stacked):
    """The base of those with experts."""

    def chosen(self, x_btd: jax.Array, expert_rk: jax.Array, weight_rk: jax.Array, layer: jax.Array) -> jax.Array:
        """The weighted sum of what each token's experts make of it, [B, T, D]."""
        assert isinstance(self.spec.feed_forward, Experts)
        biases: Biases = ()
        if self.spec.feed_forward.bias:
            biases = self.stack("gate_bias"), self.stack("up_bias"), self.stack("down_bias")
        gate, up, down = map(self.stack, ("gate", "up", "down"))
        out_rd = expert_ffn(
            x_btd.reshape(-1, x_btd.shape[-1]), expert_rk, weight_rk, gate, up, down, layer, biases,
            activation=self.spec.feed_forward.activation,
        )  # fmt: skip
        return out_rd.reshape(x_btd.shape)


class MixtureOfExperts(OfExperts):
    """Top-k of E gated experts per token, none dropped (Qwen3-MoE, 2505.09388); and a shared one, where there is."""

    @nn.compact
    def __call__(self, x_btd: jax.Array, layer: jax.Array) -> jax.Array:
        assert isinstance(self.spec.feed_forward, Experts)
        experts = self.spec.feed_forward
        with jax.named_scope("router"):
            bias_e = self.at(layer, "router_bias") if experts.bias else None
            expert_rk, weight_rk = route(x_btd, self.stack("router"), layer, experts, bias_e)
        out_btd = self.chosen(x_btd, expert_rk, weight_rk, layer)
        return out_btd + self.shared(x_btd, layer) if experts.d_shared else out_btd

    def shared(self, x_btd: jax.Array, layer: jax.Array) -> jax.Array:
        """sigmoid(x·w) times the expert that every token meets."""
        names = "shared_gate", "shared_up", "shared_weight"
        gate, up, weight = project(x_btd, tuple(map(self.stack, names)), layer)
        (down,) = project(nn.silu(gate) * up, (self.stack("shared_down"),), layer)
        return nn.sigmoid(weight) * down


class DenseAndExperts(OfExperts):
    """norm(dense(x')) + norm(experts(norm(x))), for the x that the layer's own norm made x' of (Gemma 4).

    The router reads x normed without a scale, times a learned vector and D^(-1/2); each chosen weight is multiplied
    with a learned number of its expert.
    """

    @nn.compact
    def __call__(self, normed_btd: jax.Array, layer: jax.Array, x_btd: jax.Array) -> jax.Array:
        assert isinstance(self.spec.feed_forward, Experts)
        experts, shared = self.spec.feed_forward, (self.spec, self.n_stack, self.dtype)

        def norm(name: str, x_btd: jax.Array) -> jax.Array:
            return RMSNorm(*shared, f"ffn.{name}", name=name)(x_btd, layer)

        dense_btd = FeedForward(*shared, "ffn.dense", name="dense")(normed_btd, layer)
        with jax.named_scope("router"):
            read_btd = rms_norm(x_btd, self.at(layer, "router_scale"), Norm(self.spec.norm.eps))
            read_btd *= x_btd.shape[-1] ** -0.5
            expert_rk, weight_rk = route(read_btd, self.stack("router"), layer, experts)
            weight_rk *= self.at(layer, "expert_scale").astype(jnp.float32)[expert_rk]
        experts_btd = self.chosen(norm("experts_norm", x_btd), expert_rk, weight_rk, layer)
        return norm("dense_post_norm", dense_btd) + norm("experts_post_norm", experts_btd)


def route(
    x_btd: Float[Array, "b t d"],
    router_lde: Float[Array, "l d e"],
    layer: Int[Array, ""],
    experts: Experts,
    bias_e: Float[Array, " e"] | None = None,
) -> tuple[Int[Array, "rows k"], Float32[Array, "rows k"]]:
    """Chosen experts and their float32 weights, each [B * T, experts per token].

    Sums in float32 at full precision: in tf32 or bfloat16 the eighth and ninth expert change places between platforms.
    Products of bfloat16 operands are exact in float32, so those stay what they are: matrix units take them.
    """
    (logits_bte,) = project(x_btd, (router_lde,), layer, exact=True)
    logits_re = logits_bte.reshape(-1, logits_bte.shape[-1])
    if bias_e is not None:
        logits_re += bias_e.astype(jnp.float32)
    weight_rk, expert_rk = choose_experts(logits_re, experts.experts_per_token, experts.norm_topk_prob)
    return expert_rk, weight_rk
