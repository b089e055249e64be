"""A model whose layers are alike but for their attention and the kind of their feed-forward, in one call."""

from __future__ import annotations

from attention.checks import whole
from attention.cost import Heads
from attention.full import Full
from attention.layout import Layout
from refmodel.layer_spec import LayerSpec
from refmodel.parts import Activation, Dense, Experts, Norm, Rope
from refmodel.rope_scaling import NoPositions
from refmodel.specification import MOST_LAYERS, ModelConfig


def decoder(
    name: str,
    n_layers: int,
    d_model: int,
    n_heads: int,
    n_kv_heads: int,
    head_dim: int,
    vocab_size: int,
    *,
    d_ff: int = 0,
    activation: Activation = "silu",
    n_experts: int = 0,
    experts_per_token: int = 0,
    d_expert: int = 0,
    norm_topk_prob: bool = True,
    mlp_only_layers: tuple[int, ...] = (),
    decoder_sparse_step: int = 1,
    qk_norm: bool = True,
    tied_head: bool = False,
    rope: Rope = Rope(),
    attention_bias: str = "",
    mlp_bias: bool = False,
    rotates: tuple[bool, ...] = (),
    norm_eps: float = 1e-6,
    max_positions: int = 40_960,
    layout: Layout = (),
    headline_params: int | None = None,
    cannot_run: str = "",
) -> ModelConfig:
    """A decoder of L = `n_layers` layers.

    Args:
        d_model, n_heads, n_kv_heads, head_dim, vocab_size: D, N, K, H and V.
        d_ff: F of the dense layers.
        n_experts, experts_per_token, d_expert, norm_topk_prob: `refmodel.parts.Experts`; 0 without experts.
        mlp_only_layers, decoder_sparse_step: layer l has experts iff it is not listed and (l + 1) % step == 0.
        rope, rotates: rotary positions, and which layers have them; empty means all.
        attention_bias, mlp_bias: the projections with a bias, a part of "qkvo"; whether dense layers have biases.
        layout: the attention variant of each layer; empty means full attention everywhere.

    Raises:
        ValueError: in one line, which size is wrong.
    """
    whole(f"{name}: n_layers", n_layers, 1, MOST_LAYERS)
    whole(f"{name}: decoder_sparse_step", decoder_sparse_step)
    layout = layout or (Full(),) * n_layers
    if len(layout) != n_layers:
        raise ValueError(f"{name}: layout has {len(layout)} entries for {n_layers} layers")
    rotates = rotates or (True,) * n_layers
    if len(rotates) != n_layers:
        raise ValueError(f"{name}: rotates has {len(rotates)} entries for {n_layers} layers")
    norm, still = Norm(norm_eps), Rope(scaling=NoPositions())
    heads = Heads(n_heads, n_kv_heads, head_dim, d_model)
    experts, dense = Experts(n_experts, experts_per_token, d_expert, norm_topk_prob), Dense(d_ff, activation, mlp_bias)

    def feed_forward(layer: int) -> Dense | Experts:
        sparse = n_experts and layer not in mlp_only_layers and (layer + 1) % decoder_sparse_step == 0
        return experts if sparse else dense

    layers = tuple(
        LayerSpec(
            mixer, heads, feed_forward(i), norm, rope if rotates[i] else still, qk_norm=qk_norm,
            attention_bias=attention_bias,
        )
        for i, mixer in enumerate(layout)
    )  # fmt: skip
    return ModelConfig(
        name, layers, d_model, vocab_size, tied_head=tied_head, final_norm=norm, max_positions=max_positions,
        headline_params=headline_params, cannot_run=cannot_run,
    )  # fmt: skip
