"""Rows of the table for the hybrids' parts: Gated DeltaNet, the gate of attention, the shared expert.

Stored names are those of Qwen3.5; how Qwen3-Next and GGUF files lay some of them out otherwise is in
`refmodel.checkpoint.delta_tensors`.
"""

from __future__ import annotations

from attention.cost import Heads
from attention.gated_delta import GatedDelta
from refmodel.parameters import Parameter, Table, layer_matrix, norm_row
from refmodel.parts import Experts, FeedForward, Norm
from refmodel.share import Share

_PROJECTIONS = "attention_projections"


def delta_rows(delta: GatedDelta, d_model: int, eps: float) -> Table:
    """Projections of q|k|v, of the output's gate z and of a and b, the convolution, decays, the output's norm and o."""
    n, m, h, hv = delta.key_heads, delta.value_heads, delta.key_dim, delta.value_dim
    keys, c = n * h, delta.channels
    of_qkv = {"q": (0, keys), "k": (keys, 2 * keys), "v": (2 * keys, c)}
    shapes = {"q": (n, h), "k": (n, h), "v": (m, hv), "z": (m, hv), "a": (m,), "b": (m,)}
    stored = {"z": ("in_proj_z", "attn_gate"), "a": ("in_proj_a", "ssm_alpha"), "b": ("in_proj_b", "ssm_beta")}
    into = (
        layer_matrix(
            f"attn.{name}", ("embed", "kv_heads" if name in "qk" else "heads", "head_dim")[: 1 + len(shape)],
            (d_model, *shape), ("embed",), _PROJECTIONS, f"linear_attn.{hf}", gguf,
            share=Share(1, c, *of_qkv[name]) if name in of_qkv else None,
        )
        for name, shape in shapes.items()
        for hf, gguf in [stored.get(name, ("in_proj_qkv", "attn_qkv"))]
    )  # fmt: skip
    out = layer_matrix(
        "attn.o", ("heads", "head_dim", "embed"), (m, hv, d_model), ("heads", "head_dim"), _PROJECTIONS,
        "linear_attn.out_proj", "ssm_out",
    )  # fmt: skip
    conv = layer_matrix(
        "attn.conv", ("taps", "channels"), (delta.conv, c), ("taps",), "", "linear_attn.conv1d", "ssm_conv1d"
    )  # fmt: skip
    norm = norm_row(
        "attn.norm", Norm(eps), "head_dim", hv, "model.layers.{layer}.linear_attn.norm", "blk.{layer}.ssm_norm.weight"
    )  # fmt: skip
    gates = _vector("decay", m, "A_log", "ssm_a", -0.1), _vector("dt_bias", m, "dt_bias", "ssm_dt.bias", 1.0)
    return (*into, conv, *gates, norm, out)


def gated_query_rows(table: Table, heads: Heads) -> Table:
    """Attention's rows where what is stored as q holds for each head q|gate, as wide as each other."""
    n, h = heads.n_heads, heads.head_dim
    (q,) = (row for row in table if row.path == "attn.q")
    halves = (q.stored_as("attn.q", Share(n, 2 * h, 0, h)), q.stored_as("attn.gate", Share(n, 2 * h, h, 2 * h)))
    return (*halves, *(row for row in table if row is not q))


def shared_expert_rows(d_model: int, feed_forward: FeedForward) -> Table:
    """The expert that every token meets, and the vector whose sigmoid it is weighted with, where there is one."""
    if not isinstance(feed_forward, Experts) or not feed_forward.d_shared:
        return ()
    f = feed_forward.d_shared
    matrices = (
        ("gate", ("embed", "mlp"), (d_model, f)), ("up", ("embed", "mlp"), (d_model, f)),
        ("down", ("mlp", "embed"), (f, d_model)),
    )  # fmt: skip
    weight = layer_matrix(
        "ffn.shared_weight", ("embed", "one"), (d_model, 1), ("embed",), "feed_forward", "mlp.shared_expert_gate",
        "ffn_gate_inp_shexp",
    )  # fmt: skip
    return (
        *(
            layer_matrix(f"ffn.shared_{name}", axes, shape, axes[:1], "feed_forward", f"mlp.shared_expert.{name}_proj",
                         f"ffn_{name}_shexp")
            for name, axes, shape in matrices
        ),
        weight,
    )  # fmt: skip


def _vector(name: str, size: int, hf: str, gguf: str, initial: float) -> Parameter:
    return Parameter(
        f"attn.{name}", ("heads",), (size,), hf=f"model.layers.{{layer}}.linear_attn.{hf}",
        gguf=f"blk.{{layer}}.{gguf}", initial=initial,
    )  # fmt: skip
